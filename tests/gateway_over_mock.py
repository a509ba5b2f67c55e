"""The gateway with every feature on, over an engine that somebody else runs: for benchmarks.

    python -m tests.gateway_over_mock --socket PATH --port PORT --home FOLDER

Keys, assignment to two variants, records in a SQLite ledger, and metrics, as `hallmark serve`
runs them. It asks for no hallmark, which is why it is here and in no package that is shipped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry

from monitoring.series import Series
from registry.ledger import Ledger
from serve.app import create_app
from serve.listen import listening
from serve.server import Server, server_config
from serve.settings import ServeSettings
from serve.standing import StandingEngines
from serve.upstream import new_upstream

API_KEY = "key-of-the-benchmark"


def settings_of(home: Path, port: int, **changes: object) -> ServeSettings:
    variants = [{"name": name, "checkpoint": name} for name in "ab"]
    plan = {"model_name": "support", "experiment": "bench", "salt": "bench", "variants": variants}
    return ServeSettings.model_validate(
        {"plan": plan, "home": home, "port": port, "api_keys": [API_KEY], "max_in_flight": 2048}
        | changes
    )


async def run(settings: ServeSettings, socket: Path) -> None:
    ledger = Ledger(settings.house.ledger_url)
    series = Series(CollectorRegistry())
    engines = StandingEngines(
        [
            new_upstream(settings, plan.name, f"sha256:{plan.name * 64}", socket)
            for plan in settings.plan.variants
        ]
    )
    app = create_app(settings, engines, ledger, series)
    with contextlib.closing(ledger), listening(settings.host, settings.port) as listener:
        server = Server(server_config(settings, app))

        def stop() -> None:
            app.drain()
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await server.serve(sockets=[listener])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--reader-timeout", type=float, default=60.0)
    given = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as serve.run does
    made = settings_of(given.home, given.port, reader_timeout_seconds=given.reader_timeout)
    uvloop.run(run(made, given.socket))
