"""A whole server as a process of its own, over an engine that is no model.

python tests/serving_process.py HOME CHECKPOINT PORT
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Process:
    """``root`` is its address; ``home`` its home's folder."""

    root: str
    home: Path
    gateway: subprocess.Popen[bytes]

    def send(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The open answer. Raises urllib's errors."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return urllib.request.urlopen(
            urllib.request.Request(self.root + path, data=data, headers=headers), timeout=60
        )

    def ask(self, text: str = "hi") -> dict[str, Any]:
        body = {"model": "support", "prompt": text, "user": "u"}
        with self.send("/v1/completions", body) as answer:
            return {"id": answer.headers["x-request-id"], **json.load(answer)}

    @property
    def engine_pid(self) -> int:
        return int((self.home / "logs" / "engine-a.log").read_text().split()[-1])


@contextlib.contextmanager
def server_process(
    home: Path, checkpoint: Path, port: int, *, kind: str = "serve"
) -> Iterator[Process]:
    """``kind`` is serve, a gateway with its engine, or engine, one for gateways elsewhere."""
    command = [sys.executable, __file__, kind, str(home), str(checkpoint), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = home / f"{kind}.log"
    with log.open("wb") as output:
        gateway = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    made = Process(f"http://127.0.0.1:{port}", home, gateway)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), made.send("/readyz"):
                break
            assert gateway.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield made
    finally:
        gateway.kill()
        gateway.wait()


def main(kind: str, home: str, checkpoint: str, port: str) -> None:
    from serve import keeper
    from serve.engine_process import Launch
    from serve.engine_server import serve_engine
    from serve.run import serve
    from serve.settings import ServingPlan, VariantPlan, settings_from_environment
    from tests.serving_engine import ENGINE

    def scripted(settings: Any, folder: Path, socket: Path, log: Path, **_: Any) -> Launch:
        command = (sys.executable, "-S", "-c", ENGINE, str(socket), "1.0")
        return Launch(command, dict(os.environ), None, log)

    keeper.launch = scripted
    variant = VariantPlan(name="a", checkpoint=Path(checkpoint))
    plan = ServingPlan(model_name="support", experiment="spring", variants=(variant,))
    settings = settings_from_environment(os.environ, plan=plan, home=Path(home), port=int(port))
    if kind == "serve":
        serve(settings)
    else:
        serve_engine(settings, os.environ)


if __name__ == "__main__":
    main(*sys.argv[1:])
