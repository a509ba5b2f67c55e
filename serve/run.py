"""``serve(settings)``: the whole server, until it is told to stop.

    serve(settings_from_environment(os.environ, plan=plan, home=home))

A busy port and a checkpoint without its hallmark are refused before anything is started.
SIGTERM and SIGINT finish running answers within the grace period; a second one ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from monitoring.series import Series
from registry.ledger import Ledger
from registry.records import short
from registry.trust import Admitted
from serve.admission import Admission, Verified
from serve.app import create_app
from serve.control import controlled
from serve.crew import Crew, metrics_folder
from serve.engines import Supervisor
from serve.experiment_state import first_start
from serve.listen import listening
from serve.quotas import refuse_unshared
from serve.server import Server, server_config
from serve.settings import ServeSettings, VariantPlan
from serve.switchboard import SharedSupervisor
from serve.worker import shared_series


def serve(settings: ServeSettings) -> None:
    """Serve the plan until SIGTERM or SIGINT. Raises UserError where it cannot."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(settings.host, settings.port))
        ledger = Ledger(settings.house.ledger_url)
        stack.callback(ledger.close)
        refuse_unshared(
            ledger.api_keys(), workers=settings.workers, shared=settings.redis_url is not None
        )
        admission = Admission(settings.house, ledger.revoked)
        admitted = {
            plan.name: admission.admit(plan.name, plan.checkpoint, plan.base)
            for plan in settings.plan.variants
        }
        note_plan(ledger, settings, settings.plan.variants, admitted)
        # Background threads give way to the event loop after half a millisecond, not after five.
        sys.setswitchinterval(0.0005)
        metrics = stack.enter_context(metrics_folder()) if settings.workers > 1 else None
        uvloop.run(_run(settings, listener, ledger, admission, admitted, metrics))


def note_plan(
    ledger: Ledger,
    settings: ServeSettings,
    variants: Sequence[VariantPlan],
    admitted: Mapping[str, Admitted],
) -> None:
    """Write into the ledger what is served, so that every answer's record leads somewhere."""
    plan = settings.plan
    for variant in variants:
        ledger.record_checkpoint(admitted[variant.name].manifest, str(variant.checkpoint))
    if plan.experiment is not None:
        arms = [
            {
                "name": variant.name,
                "checkpoint": admitted[variant.name].manifest.weights_digest,
                "weight": variant.weight,
            }
            for variant in variants
        ]
        body: dict[str, Any] = {
            "model_name": plan.model_name,
            "salt": plan.salt,
            "variants": arms,
        }
        if plan.design is not None:
            body["design"] = plan.design.model_dump(mode="json")
        ledger.record_experiment(plan.experiment, body)
        if plan.design is not None and not ledger.experiment_events(plan.experiment):
            first = first_start(plan.experiment, "served for the first time", datetime.now(UTC))
            ledger.record_experiment_event(first)


async def _run(
    settings: ServeSettings,
    listener: socket.socket,
    ledger: Ledger,
    admission: Admission,
    admitted: Mapping[str, Verified],
    metrics: Path | None,
) -> None:
    """``metrics`` is the folder of several workers' series, None for one process."""
    environ = dict(os.environ)  # the engines' series do not belong into our folder
    series = Series(CollectorRegistry()) if metrics is None else shared_series(metrics)
    kind = Supervisor if metrics is None else SharedSupervisor
    engines = kind(
        settings,
        admission,
        admitted,
        series,
        environ=environ,
        goldens=ledger.golden,
        noted=lambda plans, now: note_plan(ledger, settings, plans, now),
    )
    server: Server | Crew
    if metrics is not None and isinstance(engines, SharedSupervisor):
        app = None
        assert engines.board is not None
        server = Crew(settings, engines, engines.board, metrics)
    else:
        app = create_app(settings, engines, ledger, series)
        server = Server(server_config(settings, app))

    def stop() -> None:
        if app is not None:
            app.drain()
        if server.should_exit:
            server.force_exit = True
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    announcer = asyncio.create_task(_announce(settings, engines, admitted, listener))
    engines.failure.add_done_callback(lambda _: stop())
    try:
        async with controlled(settings, engines):
            await server.serve(sockets=[listener])
    finally:
        announcer.cancel()
        await engines.stop()
    if engines.failure.done():
        raise engines.failure.result()


async def _announce(
    settings: ServeSettings,
    engines: Supervisor,
    admitted: Mapping[str, Admitted],
    listener: socket.socket,
) -> None:
    """Say what is starting, and once it all answers, where."""
    host, port = listener.getsockname()[:2]
    plan = settings.plan
    logs = {row["variant"]: row["log"] for row in engines.describe()}  # adapters share one
    for variant in plan.variants:
        manifest = admitted[variant.name].manifest
        print(
            f"starting {variant.name}: {manifest.name} ({short(manifest.weights_digest)}), "
            f"weight {variant.weight:g}, log {logs[variant.name]}",
            flush=True,
        )
    while not all(one.state == "up" for one in engines.upstreams.values()):
        await asyncio.sleep(0.2)
    print(
        f"serving {plan.model_name} on http://{host}:{port}/v1 "
        f"({', '.join(engines.upstreams)}); Ctrl-C stops",
        flush=True,
    )
