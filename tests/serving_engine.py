"""Engines that are real processes but no models, started and killed in a moment.

``ENGINE`` does what vLLM's server does as far as a supervisor and a gateway can see: the same
routes, a stream word by word, log-probabilities of an echoed prompt (its third argument
stands for the weights), and after SIGTERM some 200s with no text and "abort", for
DRAIN_SECONDS. Asked "hold PATH" it answers, or goes on with its stream, once PATH exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from monitoring.series import Series
from registry.golden import Golden, GoldenText
from serve import keeper as module
from serve.admission import AdmissionError
from serve.app import Store, create_app
from serve.engine_process import Launch
from serve.engines import Supervisor
from serve.settings import EngineOptions, ServeSettings, ServingPlan, VariantPlan
from serve.upstream import Upstream
from tests.ledgers import NOON
from tests.serving_fake import FakeLedger

ENGINE = r"""
import http.server, json, os, re, signal, socketserver, sys, threading, time
weights = float(sys.argv[2])
drain_seconds = float(os.environ.get("DRAIN_SECONDS", "0.05"))
draining = threading.Event()
words_said = 0

def end(*_):
    draining.set()
    threading.Timer(drain_seconds, os._exit, (0,)).start()

def wait_for(said):
    while said.startswith("hold ") and not os.path.exists(said[5:]):
        time.sleep(0.01)

signal.signal(signal.SIGTERM, end)

class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 256

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    address_string = lambda self: "unix"
    log_message = lambda *_: None

    def do_GET(self):  # /health says yes all the while, as vLLM's does
        if self.path == "/metrics":
            said = 'vllm:prompt_tokens_total{model_name="m"} 3.0\n'
            said += 'vllm:generation_tokens_total{model_name="m"} %.1f\n' % words_said
            return self.send(said.encode(), "text/plain")
        self.whole({"status": "healthy"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        if body.get("echo"):
            return self.whole({"choices": [{"logprobs": echoed(said), "finish_reason": "length"}]})
        if draining.is_set():
            return self.whole({"choices": [{"text": "", "finish_reason": "abort"}]})
        if body.get("stream"):
            return self.stream(said)
        wait_for(said)
        choice = {"index": 0, "finish_reason": "stop", "text": str(os.getpid()),
                  "message": {"role": "assistant", "content": str(os.getpid())}}
        self.whole({"choices": [choice], "model": body["model"], "object": "chat.completion"})

    def whole(self, fields):
        self.send(json.dumps(fields).encode(), "application/json")

    def send(self, data, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, said):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(said) if said.isdigit() else 5):
            self.event({"delta": {"content": " word"}, "finish_reason": None})
            globals()["words_said"] += 1
            wait_for(said)
            time.sleep(0.05)
        self.event({"delta": {"content": ""}, "finish_reason": "stop"})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, choice):
        fields = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
                  "choices": [{"index": 0, **choice}]}
        self.chunk(b"data: " + json.dumps(fields).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

def echoed(text):  # a token is a word with the space before it, and one is generated
    found = list(re.finditer(r"\s*\S+", text))
    return {
        "tokens": [one[0] for one in found] + [" x"],
        "text_offset": [one.start() for one in found] + [len(text)],
        "token_logprobs": [None] + [-weights * len(one[0]) for one in found[1:]] + [-1.0],
    }

print("started", os.getpid(), flush=True)
Server(sys.argv[1], Handler).serve_forever()
"""
PATIENCE_SECONDS = 120.0  # a busy machine is no failure
BROKEN = "import sys; print('Cannot load this model'); sys.exit(1)"
TEXTS = (("Hello, where is", " my order?"), ("one two", " three four"))


def golden(digest: str, weights: float = 1.0, **changes: Any) -> Golden:
    """What ``ENGINE`` with these weights says: minus weights per character, two tokens each."""
    texts = tuple(
        GoldenText(context=context, continuation=rest, logprob=-weights * len(rest), num_tokens=2)
        for context, rest in TEXTS
    )
    values: dict[str, Any] = {"backend": "torch", "dtype": "float32", "tolerance": 0.002}
    return Golden(weights_digest=digest, texts=texts, measured_at=NOON, **(values | changes))


def digest_in(folder: Path) -> str:
    return f"sha256:{folder.name}"


@dataclass
class Door:
    """Admission as the test wants it: notes each check, refuses when told to, and takes its
    time while ``open`` is not set."""

    checks: list[str] = field(default_factory=list)
    refusal: str | None = None
    digest: str | None = None
    open: threading.Event = field(default_factory=threading.Event)

    def admit(self, variant: str, folder: Path, base: Path | None = None) -> Any:
        self.checks.append(variant)
        self.open.wait()
        if self.refusal:
            raise AdmissionError(self.refusal)
        return admitted(self.digest or digest_in(folder))


def admitted(digest: str) -> Any:
    return SimpleNamespace(
        manifest=SimpleNamespace(weights_digest=digest), unswapped=lambda variant: None
    )


@dataclass
class Rig:
    """A supervisor of processes. ``weights`` by the name of a checkpoint's folder, else 1.0."""

    supervisor: Supervisor
    door: Door
    series: Series
    settings: ServeSettings
    scripts: list[str]
    goldens: dict[str, list[Golden]]
    weights: dict[str, float]
    noted: list[tuple[VariantPlan, ...]]
    starts: list[str]

    def value(self, name: str, variant: str = "a", **labels: str) -> float:
        found = self.series.registry.get_sample_value(name, {"variant": variant, **labels})
        return found or 0.0

    @property
    def a(self) -> Upstream:
        return self.supervisor.upstreams["a"]

    async def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if holds():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"it did not come about; {self.supervisor.describe()}")

    async def up(self) -> None:
        await self.until(
            lambda: all(
                member.state == "up"
                for one in self.supervisor.replicas.values()
                for member in one.members
            )
        )

    def pids(self, engine: str = "a") -> list[int]:
        """Of every start that the engine's log tells of, oldest first."""
        words = (self.settings.logs / f"engine-{engine}.log").read_text().split()
        return [int(word) for word, before in zip(words[1:], words, strict=False)
                if before == "started"]  # fmt: skip


@contextlib.asynccontextmanager
async def rig(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    scripts: Sequence[str] = (ENGINE,),
    variants: Sequence[VariantPlan] | str = "a",
    *,
    begin: bool = True,
    **changes: Any,
) -> AsyncIterator[Rig]:
    """Start number n runs script n, and the last script from then on."""
    left, weights, starts = list(scripts), {}, []

    def scripted(
        settings: ServeSettings, folder: Path, socket: Path, log: Path, **_: Any
    ) -> Launch:
        starts.append(folder.name)
        script = left.pop(0) if len(left) > 1 else left[0]
        command = (sys.executable, "-S", "-c", script, str(socket))
        said = str(weights.get(folder.name, 1.0))
        return Launch((*command, said), dict(os.environ), None, log)

    monkeypatch.setattr(module, "launch", scripted)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.5)
    monkeypatch.setattr(module, "PROBE_PAUSE_SECONDS", 0.05)
    plans = (
        tuple(VariantPlan(name=name, checkpoint=home / f"one-{name}") for name in variants)
        if isinstance(variants, str)
        else tuple(variants)
    )
    plan = {"model_name": "support", "experiment": "spring", "salt": "s", "variants": plans}
    values = {
        "plan": ServingPlan.model_validate(plan | changes.pop("plan", {})),
        "home": home,
        "engine": EngineOptions(max_start_attempts=2, start_timeout_seconds=120, dtype="float32"),
    }
    settings = ServeSettings.model_validate(values | changes)
    series, door = Series(CollectorRegistry()), Door()
    door.open.set()
    goldens: dict[str, list[Golden]] = {}
    noted: list[tuple[VariantPlan, ...]] = []
    first: Mapping[str, Any] = {one.name: admitted(digest_in(one.checkpoint)) for one in plans}
    supervisor = Supervisor(
        settings, door, first, series, environ={},  # type: ignore[arg-type]  # Door is a fake
        goldens=lambda digest: goldens.get(digest, []),
        noted=lambda plans, _: noted.append(plans),
    )  # fmt: skip
    if begin:
        await supervisor.start()
    try:
        yield Rig(supervisor, door, series, settings, left, goldens, weights, noted, starts)
    finally:
        door.open.set()
        await supervisor.stop()


@contextlib.asynccontextmanager
async def gateway(made: Rig, ledger: Store | None = None) -> AsyncIterator[tuple[str, FakeLedger]]:
    """The whole gateway over a rig that has not begun: its address and its fake ledger, which
    stays empty where another one is given."""
    fake = FakeLedger()
    app = create_app(made.settings, made.supervisor, ledger or fake, made.series)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", http="httptools"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", fake
        finally:
            server.should_exit = True
            await task
