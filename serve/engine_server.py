"""`hallmark engine`: one checkpoint's engine for gateways on other machines.

It passes admission here, keeps the engine running as a gateway would, relays what a gateway
asks, and proves to each nonce what it holds (see ``serve.remote``). SIGTERM lets running
answers finish and refuses new ones.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from registry.ledger import Ledger
from registry.records import UserError, short
from registry.signing import SigningKey
from registry.trust import Admitted, local_key
from serve.admission import Admission, Verified
from serve.engine_client import UpstreamFailure
from serve.engine_process import on_cpu
from serve.errors import error_body
from serve.keeper import Keeper, Seat, Tools
from serve.listen import listening
from serve.remote import PROOF_PATH, Proof, sign_proof
from serve.settings import ServeSettings
from serve.upstream import Upstream, new_upstream

ASKED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
HANDED_ON = ("Content-Type", "X-Request-Id", "traceparent", "tracestate")
LOOPBACK = re.compile(r"127\.|::1$|localhost$")
NONCE = re.compile(r"[0-9a-f]{16,64}")


class EngineServerError(UserError):
    """The engine must not listen like this."""


class EngineServer:
    """The HTTP side: relays to ``upstream`` for those who have ``key``, and proves itself."""

    def __init__(
        self, upstream: Upstream, admitted: Admitted, signer: SigningKey, *, model: str, key: str
    ) -> None:
        self._upstream = upstream
        self._admitted = admitted
        self._signer = signer
        self._model = model
        self._key = key
        self.draining = False

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        for path in ASKED:
            app.router.add_post(path, self.relay)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get(PROOF_PATH, self.prove)
        app.router.add_get("/readyz", self.ready)
        return app

    async def relay(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        upstream = self._upstream
        body = await request.read()
        upstream.in_flight += 1
        try:
            headers = {name: request.headers[name] for name in HANDED_ON if name in request.headers}
            response = await upstream.post(request.path, body, headers)
            async with response:
                kind = response.headers.get(b"content-type", b"application/json").decode("latin-1")
                answer = web.StreamResponse(status=response.status, headers={"Content-Type": kind})
                await answer.prepare(request)
                while chunk := await response.readany():
                    await answer.write(chunk)
                await answer.write_eof()
                return answer
        except UpstreamFailure as failure:
            return _error(failure.status, str(failure))
        finally:
            upstream.in_flight -= 1

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        try:
            status, kind, body = await self._upstream.get("/metrics")
        except UpstreamFailure as failure:
            return _error(failure.status, str(failure))
        return web.Response(status=status, body=body, headers={"Content-Type": kind})

    async def prove(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        nonce = request.query.get("nonce", "")
        if not NONCE.fullmatch(nonce):
            return _error(400, "send ?nonce= with 16 to 64 hex digits")
        proof = Proof(
            nonce=nonce,
            weights_digest=self._upstream.checkpoint,
            envelope_digest=self._admitted.envelope_digest,
            model=self._model,
        )
        return web.json_response(sign_proof(proof, self._signer))

    async def ready(self, request: web.Request) -> web.StreamResponse:
        state = "draining" if self.draining else self._upstream.state
        return web.json_response({"status": state}, status=200 if state == "up" else 503)

    def _refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        if self._key and not hmac.compare_digest(
            given.encode(errors="replace"), f"Bearer {self._key}".encode()
        ):
            return _error(401, "missing or wrong engine key; set HALLMARK_ENGINE_KEY")
        if self.draining or self._upstream.state != "up":
            state = "draining" if self.draining else self._upstream.state
            return _error(503, f"the engine is not ready ({state})")
        return None


def _error(status: int, message: str) -> web.Response:
    headers = {"Content-Type": "application/json"}
    if status == 503:
        headers["Retry-After"] = "5"
    body = error_body(status, message, "engine_refused")
    return web.Response(status=status, body=body, headers=headers)


def serve_engine(settings: ServeSettings, environ: Mapping[str, str]) -> None:
    """Serve the plan's one checkpoint until SIGTERM. Raises UserError where it cannot."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    key = settings.engine.key
    if key is None and not LOOPBACK.match(settings.host):
        raise EngineServerError(
            f"everybody who reaches {settings.host} could ask this engine, past all gateways; "
            "set HALLMARK_ENGINE_KEY here and at the gateways, or listen on 127.0.0.1"
        )
    [plan] = settings.plan.variants
    with (
        listening(settings.host, settings.port) as listener,
        Ledger(settings.house.ledger_url) as ledger,
    ):
        admission = Admission(settings.house, ledger.revoked)
        admitted = admission.admit(plan.name, plan.checkpoint, plan.base)
        asyncio.run(_run(settings, listener, admission, admitted, environ))


async def _run(
    settings: ServeSettings,
    listener: socket.socket,
    admission: Admission,
    admitted: Verified,
    environ: Mapping[str, str],
) -> None:
    [plan] = settings.plan.variants
    model = settings.plan.model_name
    digest = admitted.manifest.weights_digest
    with tempfile.TemporaryDirectory(prefix="hallmark-") as folder:
        upstream = new_upstream(settings, plan.name, digest, Path(folder) / "engine.sock")
        if plan.base is not None:
            upstream.model = model = f"{model}@{plan.name}"
        tools = Tools(
            settings=settings,
            admission=admission,
            environ=environ,
            cpu=on_cpu(),
            turn=asyncio.Semaphore(1),
            changed=lambda upstream, fresh: None,
            restarted=lambda variant: None,
        )
        cores = sorted(settings.engine.cores or os.sched_getaffinity(0))
        keeper = Keeper(
            plan.name, [Seat(plan, upstream)], tools, cores=cores, admitted={plan.name: admitted}
        )
        key = settings.engine.key
        server = EngineServer(
            upstream,
            admitted,
            local_key(settings.house),
            model=model,
            key=key.get_secret_value() if key is not None else "",
        )
        runner = web.AppRunner(server.application(), handler_cancellation=True, access_log=None)
        await runner.setup()
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        host, port = listener.getsockname()[:2]
        try:
            await web.SockSite(runner, listener).start()
            keeper.begin()
            print(f"starting {short(digest)}, log {keeper.log}", flush=True)
            ended = asyncio.ensure_future(ending.wait())
            either: set[asyncio.Future[Any]] = {keeper.first, ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if keeper.first.done():
                keeper.first.result()  # raises why it could not start
                print(f"engine of {short(digest)} on http://{host}:{port}", flush=True)
            await ended
            server.draining = True
            await keeper.drain(settings.grace_seconds)
        finally:
            server.draining = True
            await keeper.stop()
            await runner.cleanup()
