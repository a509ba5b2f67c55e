"""The gateway as an ASGI application: the hot route as it is, control routes by FastAPI.

GET  /v1/models                    what may be asked for
POST /v1/feedback                  what a person says of an answer (serve.feedback)
     /v1/arena, /v1/labelling      votes between two answers; answers to be looked at
GET  /chat, /arena, /label         pages for people (serve.pages)
GET  /healthz, /readyz             alive; able to answer
GET  /metrics                      the gateway's own series
GET  /metrics/engines/{variant}    an engine's series, as vLLM writes them
GET  /admin/variants               state of each variant
GET  /openapi.json                 all of these, for tools

Where keys are set, everything but /healthz and /readyz wants one; metrics and admin routes one
of scope admin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException

from monitoring.series import Series
from registry.api_keys import ApiKey
from registry.served import RequestRecord
from serve import arena, experiment_desk, feedback, labelling, pages
from serve.assignment import Assigner
from serve.desk import Desk, DeskStore
from serve.engine_client import UpstreamFailure
from serve.errors import ApiError
from serve.exchange import CLIENT_GONE, ROUTES
from serve.experiment_desk import ExperimentStore
from serve.feedback_kinds import Metrics
from serve.guardian import GuardianStore
from serve.headers import guarded
from serve.keys import ANYBODY, KeyRing, refuse_strangers, scope_of
from serve.limits import ClientGone, Receive, Scope, Send, header
from serve.links import Links
from serve.openapi import document
from serve.proxy import Proxy
from serve.quotas import open_quotas
from serve.recorder import Recorder
from serve.running import guarded_experiment, shadows_of
from serve.settings import ServeSettings
from serve.standing import Engines

log = logging.getLogger("hallmark.app")


class Store(DeskStore, ExperimentStore, GuardianStore, Protocol):
    """What the gateway needs of a ledger."""

    def api_keys(self) -> Sequence[ApiKey]: ...

    def record_requests(self, records: Sequence[RequestRecord], /) -> None: ...


class Gateway:
    """The ASGI application. ``drain`` lets running answers finish and refuses new ones."""

    def __init__(self, control: FastAPI, proxy: Proxy, *, cors_origins: Sequence[str]) -> None:
        self._control = control
        self._proxy = proxy
        self._answer = guarded(self._route, cors_origins)

    def drain(self) -> None:
        self._proxy.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in ROUTES:
            await self._proxy(scope, receive, send)
        else:
            await self._control(scope, receive, send)


def create_app(settings: ServeSettings, engines: Engines, ledger: Store, series: Series) -> Gateway:
    """A gateway over ``engines``, which it starts and stops with its own lifespan.

    Raises QuotaError for an address that is none of a Redis.
    """
    plan = settings.plan
    checkpoints = engines.fleet.checkpoints
    for name, checkpoint in checkpoints.items():
        series.declare_variant(name, checkpoint=checkpoint, experiment=plan.experiment)
    assigner = Assigner(plan, checkpoints, random.Random())
    recorder = Recorder(ledger, series, size=settings.record_queue)
    keys = KeyRing((key.get_secret_value() for key in settings.api_keys), ledger.api_keys)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    quotas = open_quotas(redis_url, workers=settings.workers)
    shadows = shadows_of(plan, engines.fleet, recorder, series)
    proxy = Proxy(settings, assigner, engines.fleet, recorder, series, keys, quotas, shadows)
    started_at = int(time.time())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        recorder.start()
        following = asyncio.create_task(keys.follow(), name="keys")
        await engines.start()
        try:
            async with guarded_experiment(plan, ledger, assigner, shadows, series):
                yield
        finally:
            proxy.draining = True
            following.cancel()
            await engines.stop()
            await quotas.close()
            await asyncio.to_thread(recorder.close)
            await asyncio.to_thread(proxy.close)

    app = FastAPI(
        title="Hallmark", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )

    @app.exception_handler(ApiError)
    async def refuse(request: Request, error: ApiError) -> Response:
        if error.reason is not None:
            series.rejections.labels(reason=error.reason).inc()
        headers = {}
        if error.retry_after_seconds is not None:
            headers["Retry-After"] = str(error.retry_after_seconds)
        return Response(error.body, error.status, headers, "application/json")

    @app.exception_handler(ClientGone)
    async def nobody_there(request: Request, error: ClientGone) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        """A 500 with an id; the server that sent it logs the traceback beside it."""
        failure = "req-" + secrets.token_hex(12)
        log.error("%s failed as %s: %s", request.scope["path"], failure, type(error).__name__)
        message = f"the gateway failed; its log has the reason under {failure}"
        return await refuse(request, ApiError(500, message, "internal_error"))

    @app.exception_handler(HTTPException)
    async def no_such_route(request: Request, error: HTTPException) -> Response:
        try:
            authorized(request)
        except ApiError as refusal:  # who has no key does not learn which routes there are
            return await refuse(request, refusal)
        where = f"{request.method} {request.url.path}"
        if error.status_code == 405:
            return await refuse(
                request, ApiError(405, f"{where}: wrong method", "method_not_allowed")
            )
        routes = ", ".join(
            sorted([*ROUTES, "/v1/models", "/v1/feedback", "/healthz", "/readyz", "/metrics"])
        )
        return await refuse(request, ApiError(404, f"no route {where}; have {routes}", "not_found"))

    def authorized(request: Request) -> ApiKey:
        """The request's key, good for its route. Raises ApiError 401 or 403."""
        path = request.scope["path"]
        key = keys.check(header(request.scope, b"authorization"), scope_of(path))
        if key is ANYBODY:
            refuse_strangers(path, request.client.host if request.client else None)
        return key

    @contextlib.asynccontextmanager
    async def counted(request: Request) -> AsyncIterator[ApiKey]:
        """As ``authorized``, with the request counted against its key's limits."""
        key = authorized(request)
        held = await quotas.reserve(key, 0)
        try:
            yield key
        finally:
            if held is not None:
                quotas.settle(held, 0)

    @app.get("/v1/models")
    async def models(request: Request) -> JSONResponse:
        authorized(request)
        rows: list[dict[str, Any]] = [
            {"id": name, "object": "model", "created": started_at, "owned_by": "hallmark"}
            for name in assigner.models
        ]
        for row in rows[1:]:
            variant = row["id"].partition("@")[2]
            row["hallmark"] = {"variant": variant, "checkpoint": checkpoints[variant]}
        return JSONResponse({"object": "list", "data": rows})

    desk = Desk(
        store=ledger,
        series=series,
        metrics=Metrics(settings.feedback_metrics),
        links=cache(lambda: Links.of_folder(settings.house.keys)),
        authorize=authorized,
        counted=counted,
        variant_of=recorder.variant_of,
        checkpoint_of=lambda name: (
            known.checkpoint if (known := engines.upstreams.get(name)) else None
        ),
        max_body_bytes=settings.max_body_bytes,
    )

    shadowing = plan.design.shadows if plan.design is not None else {}

    def can_answer() -> dict[str, str]:
        """Variants that are up, without the shadows, which never answer users."""
        up = (one for one in engines.upstreams.values() if one.state == "up")
        return {one.name: one.checkpoint for one in up if one.name not in shadowing}

    app.include_router(feedback.routes(desk))
    app.include_router(labelling.routes(desk))
    app.include_router(arena.routes(desk, proxy, plan.model_name, can_answer, random.Random()))
    app.include_router(pages.routes())
    app.include_router(experiment_desk.routes(ledger, desk))

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        if trouble := recorder.trouble:
            return JSONResponse({"status": "degraded", "reason": trouble})
        return JSONResponse({"status": "alive"})

    @app.get("/readyz")
    async def readyz(request: Request) -> JSONResponse:
        states = {name: one.state for name, one in engines.upstreams.items()}
        ready = not proxy.draining and all(state == "up" for state in states.values())
        status = "ready" if ready else "draining" if proxy.draining else "not ready"
        body: dict[str, Any] = {"status": status}
        with contextlib.suppress(ApiError):  # names of variants are for those who may ask
            authorized(request)
            body["variants"] = states
        return JSONResponse(body, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        authorized(request)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(series.registry), headers={"Content-Type": content_type})

    @app.get("/metrics/engines/{variant}")
    async def engine_metrics(request: Request, variant: str) -> Response:
        authorized(request)
        upstream = engines.upstreams.get(variant)
        if upstream is None:
            have = ", ".join(engines.upstreams)
            raise ApiError(404, f"no variant {variant[:64]!r}; have {have}", "not_found")
        try:
            status, kind, body = await upstream.get("/metrics")
        except UpstreamFailure as failure:
            message = f"variant {variant}: {failure}"
            raise ApiError(503, message, "not_ready", retry_after_seconds=5) from failure
        return Response(body, status, {"Content-Type": kind})

    @app.get("/admin/variants")
    async def variants(request: Request) -> JSONResponse:
        authorized(request)
        weights = {variant.name: variant.weight for variant in plan.variants}
        rows = [row | {"weight": weights[row["variant"]]} for row in engines.describe()]
        return JSONResponse({"experiment": plan.experiment, "variants": rows})

    @app.get("/openapi.json")
    async def openapi(request: Request) -> JSONResponse:
        authorized(request)
        return JSONResponse(document(app))

    return Gateway(app, proxy, cors_origins=settings.cors_origins)
