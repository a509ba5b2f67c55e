"""An engine that says what a test wants, on a Unix socket, and a gateway in front of it.

The last message's text (or the prompt) chooses the behaviour; any other text is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from aiohttp import web
from prometheus_client import CollectorRegistry

from monitoring.series import Series
from registry.api_keys import ApiKey
from registry.labels import Label
from registry.served import FeedbackRecord, RequestRecord
from serve.app import create_app
from serve.server import server_config
from serve.settings import ServeSettings, ServingPlan, VariantPlan
from serve.standing import StandingEngines
from serve.upstream import new_upstream

WORDS = ("Your", " order", " is", " on", " its", " way", ".")
CONTEXT_ERROR = "This model's maximum context length is 8 tokens. Please reduce the prompt."


class FakeEngine:
    """What vLLM's server does as far as the gateway can see."""

    def __init__(self) -> None:
        self.words = WORDS
        self.words_for: dict[str, tuple[str, ...]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.cancelled = 0
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.hang_ups = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        self.raw.append(raw)
        self.bodies.append(body)
        self.headers.append(request.headers)
        try:
            said = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        except (KeyError, IndexError, TypeError):
            error = {"message": "1 validation error", "type": "BadRequestError", "code": 400}
            return web.json_response({"error": error}, status=400)
        if not isinstance(said, str):
            said = ""
        try:
            self.started.set()
            if said == "wait":
                await self.release.wait()
            if said == "hang up" or (said == "hang up once" and self.hang_ups == 0):
                self.hang_ups += 1
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            if refused := self._refusal(said):
                return refused
            if body.get("stream"):
                return await self._stream(request, body, said)
            return web.json_response(self._whole(body, said))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def _refusal(self, said: str) -> web.Response | None:
        if said == "context":
            error = {"message": CONTEXT_ERROR, "type": "BadRequestError", "param": "messages"}
            return web.json_response({"error": error | {"code": 400}}, status=400)
        if said == "busy":
            return web.json_response({"error": {"message": "queue full"}}, status=503)
        if said == "broken":
            return web.Response(text="<html>Internal Server Error</html>", status=500)
        return None

    def _whole(self, body: dict[str, Any], said: str) -> dict[str, Any]:
        reason = "abort" if said == "abort" else "stop"
        text = "" if said == "abort" else "".join(self.words_for.get(said, self.words))
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "logprobs": None}
        if "messages" in body:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        return {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"],
                "choices": [choice], "usage": usage}  # fmt: skip

    async def _stream(
        self, request: web.Request, body: dict[str, Any], said: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)

        async def event(fields: dict[str, Any], pieces: int = 1) -> None:
            data = f"data: {json.dumps(fields)}\n\n".encode()
            size = -(-len(data) // pieces)
            for start in range(0, len(data), size):
                await response.write(data[start : start + size])
                if pieces > 1:
                    await asyncio.sleep(0.001)

        def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return {"id": "x", "object": "chat.completion.chunk", "created": 1,
                    "model": body["model"], "choices": [choice]}  # fmt: skip

        if said == "stream error":
            await event({"error": {"message": "no room in the queue", "code": 503}})
            return response
        if said == "abort":
            await event(chunk({"role": "assistant", "content": ""}, "abort"))
            return response
        await event(chunk({"role": "assistant", "content": ""}))
        for number, word in enumerate(self.words_for.get(said, self.words)):
            if number == 3:
                await asyncio.sleep(0.05)  # so that what came before is under way
            if number == 3 and said == "abort later":
                await event(chunk({"content": ""}, "abort"))
                return response
            if number == 3 and said == "break off":
                assert request.transport is not None
                request.transport.close()
                return response
            if number == 3 and said == "wait later":
                await self.release.wait()
            await event(chunk({"content": word}), pieces=9 if said == "pieces" else 1)
        await event(chunk({"content": ""}, "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
            await event(chunk({}) | {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response


@dataclass
class FakeLedger:
    """Rows in memory. ``fail`` raises on writing; ``release`` lets a blocked write go on."""

    rows: dict[str, RequestRecord] = field(default_factory=dict)
    feedback: dict[str, FeedbackRecord] = field(default_factory=dict)
    keys: list[ApiKey] = field(default_factory=list)
    fail: bool = False

    def api_keys(self) -> list[ApiKey]:
        return list(self.keys)

    def record_requests(self, records: Sequence[RequestRecord], /) -> None:
        if self.fail:
            raise OSError("disk full")
        self.rows |= {record.request_id: record for record in records}

    def record_feedback(self, record: FeedbackRecord, /) -> bool:
        if record.feedback_id in self.feedback:
            return False
        self.feedback[record.feedback_id] = record
        return True

    def feedback_by_id(self, feedback_id: str, /) -> FeedbackRecord | None:
        return self.feedback.get(feedback_id)

    def request(self, request_id: str, /) -> RequestRecord | None:
        return self.rows.get(request_id)

    def votes(self, metric: str, /) -> Iterator[FeedbackRecord]:
        return (one for one in self.feedback.values() if one.metric == metric)

    def who_answered(self, request_ids: Sequence[str], /) -> dict[str, tuple[str, str]]:
        found = (self.rows[one] for one in request_ids if one in self.rows)
        return {one.request_id: (one.checkpoint, one.variant) for one in found}

    # Nothing is queued for labellers here; tests of that have a real ledger.

    def next_label_task(self, labeller_digest: str, /) -> None:
        return None

    def num_label_tasks(self, labeller_digest: str, /) -> int:
        return 0

    def is_label_task(self, request_id: str, /) -> bool:
        return False

    def record_label(self, label: Label, /) -> None:
        raise AssertionError(f"no answer {label.request_id} was queued")

    def labels(self) -> Iterator[Label]:
        return iter(())


@dataclass
class Bench:
    """A gateway on a port, the fakes behind it, and its series."""

    root: str
    engines: dict[str, FakeEngine]
    ledger: FakeLedger
    series: Series
    standing: StandingEngines

    def value(self, name: str, **labels: str) -> float:
        return self.series.registry.get_sample_value(name, labels) or 0.0

    async def row(self, request_id: str) -> RequestRecord:
        for _ in range(200):
            if request_id in self.ledger.rows:
                return self.ledger.rows[request_id]
            await asyncio.sleep(0.02)
        raise AssertionError(f"no record of {request_id}; have {list(self.ledger.rows)}")


@contextlib.asynccontextmanager
async def bench(
    *, keys: Sequence[ApiKey] = (), ledger: Any = None, **changes: Any
) -> AsyncIterator[Bench]:
    """Variants a and b, even weights, experiment spring; ``changes`` go to ServeSettings.

    ``keys`` are the ledger's API keys; ``ledger`` is a real one instead of the fake.
    """
    with tempfile.TemporaryDirectory(prefix="hm-") as folder:
        variants = tuple(VariantPlan(name=name, checkpoint=Path(name)) for name in "ab")
        plan = ServingPlan(
            model_name="support", experiment="spring", salt="spring", variants=variants
        )
        settings = ServeSettings.model_validate({"plan": plan, "home": folder, **changes})
        engines, runners, upstreams = {}, [], []
        for name in "ab":
            fake = engines[name] = FakeEngine()
            app = web.Application()
            app.router.add_post("/v1/chat/completions", fake.answer)
            app.router.add_post("/v1/completions", fake.answer)

            async def metrics(_: web.Request) -> web.Response:
                return web.Response(
                    body=b"vllm:num_requests_running 0\n",
                    headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
                )

            app.router.add_get("/metrics", metrics)
            runner = web.AppRunner(app, handler_cancellation=True)
            await runner.setup()
            path = Path(folder) / f"{name}.sock"
            await web.UnixSite(runner, str(path)).start()
            runners.append(runner)
            upstreams.append(new_upstream(settings, name, f"sha256:{name * 64}", path))
        standing = StandingEngines(upstreams)
        ledger, series = ledger or FakeLedger(keys=list(keys)), Series(CollectorRegistry())
        gateway = create_app(settings, standing, ledger, series)
        server = uvicorn.Server(server_config(settings, gateway))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            task = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            root = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                yield Bench(root, engines, ledger, series, standing)
            finally:
                for fake in engines.values():
                    fake.release.set()
                server.should_exit = True
                await task
                for runner in runners:
                    await runner.cleanup()
