"""The supervisor over processes that a test can start in a moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitoring.series import Series
from serve import engines as module
from serve.admission import AdmissionError
from serve.engine_process import Launch
from serve.engines import Supervisor
from serve.settings import EngineOptions, ServeSettings, ServingPlan, VariantPlan

# Answers every POST with one token, a second after it began.
ENGINE = """
import http.server, os, socketserver, sys, time
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    address_string = lambda self: "unix"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"choices":[{"text":"a","finish_reason":"length"}]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    log_message = lambda *_: None
print("started", os.getpid(), flush=True)
Server(sys.argv[1], Handler).serve_forever()
"""
BROKEN = "import sys; print('Cannot load this model'); sys.exit(1)"


@dataclass
class Door:
    """Admission as the test wants it: notes each check, refuses when told to."""

    checks: list[str] = field(default_factory=list)
    refusal: str | None = None
    digest: str = "sha256:aa"

    def admit(self, variant: str, folder: Path) -> Any:
        self.checks.append(variant)
        if self.refusal:
            raise AdmissionError(self.refusal)
        return admitted(self.digest)


def admitted(digest: str = "sha256:aa") -> Any:
    return SimpleNamespace(manifest=SimpleNamespace(weights_digest=digest))


@dataclass
class Rig:
    supervisor: Supervisor
    door: Door
    series: Series
    scripts: list[str]

    def value(self, name: str, variant: str = "a") -> float:
        return self.series.registry.get_sample_value(name, {"variant": variant}) or 0.0

    @property
    def a(self) -> module.Upstream:
        return self.supervisor.upstreams["a"]

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(400):
            if holds():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"it did not come about; {self.supervisor.describe()}")


@contextlib.asynccontextmanager
async def rig(
    monkeypatch: pytest.MonkeyPatch, home: Path, scripts: Sequence[str], names: str = "a"
) -> AsyncIterator[Rig]:
    """Start number n runs script n, and the last script from then on."""
    left = list(scripts)

    def scripted(
        settings: ServeSettings, folder: Path, socket: Path, log: Path, **_: Any
    ) -> Launch:
        script = left.pop(0) if len(left) > 1 else left[0]
        return Launch((sys.executable, "-c", script, str(socket)), dict(os.environ), None, log)

    monkeypatch.setattr(module, "launch", scripted)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.5)
    plans = tuple(VariantPlan(name=name, checkpoint=home / name) for name in names)
    settings = ServeSettings(
        plan=ServingPlan(model_name="support", variants=plans), home=home,
        engine=EngineOptions(max_start_attempts=2, start_timeout_seconds=20),
    )  # fmt: skip
    series, door = Series(CollectorRegistry()), Door()
    first: Mapping[str, Any] = {name: admitted() for name in names}
    supervisor = Supervisor(settings, door, first, series, environ={})  # type: ignore[arg-type]  # Door is a fake
    await supervisor.start()
    try:
        yield Rig(supervisor, door, series, left)
    finally:
        await supervisor.stop()


def engine_pid(home: Path, name: str = "a") -> int:
    return int((home / "logs" / f"engine-{name}.log").read_text().split()[-1])


async def test_an_engine_is_up_once_it_has_given_a_token(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, [ENGINE], names="ab") as made:
        assert made.a.state == "starting"
        await made.until(lambda: all(u.state == "up" for u in made.supervisor.upstreams.values()))
        assert made.value("hallmark_engine_up") == 1
        assert made.door.checks == []  # what was admitted just now is good for the first start


async def test_a_killed_engine_is_admitted_afresh_and_started_again(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, [ENGINE]) as made:
        await made.until(lambda: made.a.state == "up")
        os.kill(engine_pid(tmp_path), signal.SIGKILL)
        await made.until(lambda: made.a.state != "up")
        assert made.value("hallmark_engine_up") == 0
        await made.until(lambda: made.a.state == "up")
        assert made.door.checks == ["a"]
        assert made.value("hallmark_engine_restarts_total") == 1


async def test_weights_changed_under_a_running_server_are_not_started_again(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, [ENGINE]) as made:
        await made.until(lambda: made.a.state == "up")
        made.door.refusal = "variant 'a' is refused: model.safetensors changed"
        os.kill(engine_pid(tmp_path), signal.SIGKILL)
        await made.until(lambda: made.a.state == "failed")
        assert made.a.reason == "variant 'a' is refused: model.safetensors changed"


async def test_other_weights_in_the_same_folder_are_refused_on_restart(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, [ENGINE]) as made:
        await made.until(lambda: made.a.state == "up")
        made.door.digest = "sha256:bb"
        os.kill(engine_pid(tmp_path), signal.SIGKILL)
        await made.until(lambda: made.a.state == "failed")
        assert "holds sha256:bb now, and sha256:aa when the server started" in made.a.reason


async def test_an_engine_that_never_starts_fails_the_server_with_its_last_words(
    monkeypatch, tmp_path
):
    async with rig(monkeypatch, tmp_path, [BROKEN]) as made:
        error = await asyncio.wait_for(asyncio.shield(made.supervisor.failure), 20)
        assert "ended with code 1 before it answered" in str(error)
        assert str(error).endswith("Cannot load this model")


async def test_one_failed_restart_is_not_the_end(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, [ENGINE, BROKEN, ENGINE]) as made:
        await made.until(lambda: made.a.state == "up")
        os.kill(engine_pid(tmp_path), signal.SIGKILL)
        await made.until(lambda: made.value("hallmark_engine_restarts_total") == 2)
        await made.until(lambda: made.a.state == "up")


async def test_after_the_last_attempt_a_variant_is_given_up_and_says_why(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, [ENGINE, BROKEN]) as made:
        await made.until(lambda: made.a.state == "up")
        os.kill(engine_pid(tmp_path), signal.SIGKILL)
        await made.until(lambda: made.a.state == "failed")
        assert "Cannot load this model" in made.a.reason
        assert not made.supervisor.failure.done()  # other variants go on


async def test_stopping_leaves_no_process_and_no_socket(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, [ENGINE]) as made:
        await made.until(lambda: made.a.state == "up")
        pid, socket = engine_pid(tmp_path), made.a.socket
        await made.supervisor.stop()
        assert made.a.state == "draining"
        assert not socket.exists()
        assert not Path(f"/proc/{pid}").exists()
