"""The hot path: ``/v1/chat/completions`` and ``/v1/completions`` as raw ASGI.

Read the body once; take an in-flight slot; assign; change ``model`` only where a variant is
pinned (and ask a stream for its usage, which is taken out again for clients that did not);
send it to the variant's engine; look at the first event before sending a status line; pass
bytes through; leave one record.

It does not know how engines are started or what a record becomes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import aiohttp

from monitoring.series import Series
from serve import sse
from serve.assignment import Assigner, Assignment
from serve.errors import ApiError, error_event
from serve.exchange import CLIENT_GONE, ROUTES, Exchange, clock, parse_body
from serve.limits import ClientGone, Keys, Receive, Scope, Send, header, read_body
from serve.recorder import Recorder
from serve.refusals import as_failure, checked_answer, refusal_of
from serve.settings import ServeSettings
from serve.upstream import Upstream, UpstreamFailure

log = logging.getLogger("hallmark.proxy")

RETRY_SECONDS = 1
RESTART_RETRY_SECONDS = 5
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


class Proxy:
    """Answers requests; one per gateway process. ``draining`` refuses new ones."""

    def __init__(
        self,
        settings: ServeSettings,
        assigner: Assigner,
        upstreams: dict[str, Upstream],
        recorder: Recorder,
        series: Series,
    ) -> None:
        self.draining = False
        self._settings = settings
        self._assigner = assigner
        self._upstreams = upstreams
        self._recorder = recorder
        self._series = series
        self._keys = Keys(key.get_secret_value() for key in settings.api_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        exchange = Exchange(ROUTES[path], path)
        try:
            body = await self._accept(exchange, scope, receive)
            await self._answer(exchange, body, receive, send)
        except ClientGone:
            pass
        except ApiError as error:
            await self._refuse(exchange, error, send)
        except Exception:  # the request boundary: a 500 with an id, and the gateway lives on
            log.exception("request %s failed", exchange.request_id)
            message = f"the gateway failed; its log has the reason under {exchange.request_id}"
            await self._refuse(exchange, ApiError(500, message, "internal_error"), send)
        finally:
            if exchange.upstream is not None:
                self._leave(exchange)

    async def _accept(self, exchange: Exchange, scope: Scope, receive: Receive) -> bytes:
        """Everything before the engine: the body to send, the exchange assigned, a slot taken."""
        self._keys.check(header(scope, b"authorization"))
        if scope["method"] != "POST":
            raise ApiError(405, f"{exchange.path} takes POST", "method_not_allowed")
        raw = await read_body(scope, receive, self._settings.max_body_bytes)
        exchange.began = clock()
        body = exchange.body = parse_body(raw)
        model = body.get("model")
        assignment = self._assigner.assign(model, body, header(scope, b"x-hallmark-unit"))
        exchange.assignment = assignment
        self._take_slot(exchange, self._upstreams[assignment.variant])
        exchange.stream = body.get("stream") is True
        changes: dict[str, Any] = {}
        if assignment.pinned:
            changes["model"] = self._settings.plan.model_name
        if exchange.stream:
            options = body.get("stream_options")
            if options is None:
                options = {}
            if isinstance(options, dict) and not options.get("include_usage"):
                exchange.wants_usage = False
                changes["stream_options"] = {**options, "include_usage": True}
        if self._settings.store_conversations and exchange.route == "chat":
            exchange.parts = []
        return json.dumps({**body, **changes}).encode() if changes else raw

    def _take_slot(self, exchange: Exchange, upstream: Upstream) -> None:
        """No await between the check and the count: the number in flight is exact."""
        if self.draining or upstream.state != "up":
            what = f"variant {upstream.name} is not ready ({upstream.state})"
            raise ApiError(
                503,
                f"{'the gateway is shutting down' if self.draining else what}; try again soon",
                "not_ready",
                reason="not_ready",
                retry_after_seconds=RESTART_RETRY_SECONDS,
            )
        if upstream.in_flight >= upstream.max_in_flight:
            raise ApiError(
                429,
                f"variant {upstream.name} answers {upstream.in_flight} requests already, "
                "which is its limit; try again in a moment",
                "overloaded",
                reason="overloaded",
                retry_after_seconds=RETRY_SECONDS,
            )
        upstream.in_flight += 1
        exchange.upstream = upstream
        self._series.in_flight.labels(variant=upstream.name).inc()

    async def _answer(self, exchange: Exchange, body: bytes, receive: Receive, send: Send) -> None:
        """Relay, and stop the engine's work at once where the client goes away."""
        task = asyncio.current_task()
        assert task is not None
        watcher = asyncio.ensure_future(_watch(exchange, receive, task))
        try:
            await self._relay(exchange, body, send)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            task.uncancel()
            exchange.status = CLIENT_GONE
        finally:
            exchange.finished = True
            watcher.cancel()

    async def _relay(self, exchange: Exchange, body: bytes, send: Send) -> None:
        upstream = exchange.upstream
        assert upstream is not None
        headers = {"Content-Type": "application/json", "X-Request-Id": exchange.request_id}
        exchange.asked = clock()
        try:
            response = await upstream.post(exchange.path, body, headers)
            async with response:
                if response.status != 200:
                    raise refusal_of(response.status, await response.read())
                if response.content_type == "text/event-stream":
                    await self._relay_stream(exchange, response, send)
                else:
                    await self._relay_whole(exchange, response, send)
        except (UpstreamFailure, aiohttp.ClientError, TimeoutError) as error:
            raise self._failed(exchange, as_failure(error)) from error

    async def _relay_whole(
        self, exchange: Exchange, response: aiohttp.ClientResponse, send: Send
    ) -> None:
        data = await response.read()
        exchange.heard = clock()
        answer = checked_answer(data)
        exchange.tokens = sse.usage_of(answer)
        found = sse.FINISH.search(data)
        exchange.finish_reason = found[1].decode() if found else None
        if exchange.parts is not None:
            exchange.parts.append(data)
        length = (b"content-length", str(len(data)).encode())
        await self._send_head(exchange, 200, [_JSON, length], send)
        exchange.finished = True
        await send({"type": "http.response.body", "body": data})

    async def _relay_stream(
        self, exchange: Exchange, response: aiohttp.ClientResponse, send: Send
    ) -> None:
        events = sse.Events()
        chunks = response.content.iter_any()
        try:
            async for chunk in chunks:
                if block := events.feed(chunk):
                    await self._relay_block(exchange, block, send)
            if rest := events.rest():
                await self._relay_block(exchange, rest, send)
            if exchange.status is None:
                raise UpstreamFailure("stream", "the engine sent an empty stream")
            if exchange.finish_reason is None:
                raise UpstreamFailure("stream", "the engine ended its answer early")
        except (UpstreamFailure, aiohttp.ClientError, TimeoutError) as error:
            if exchange.status is None:
                raise
            self._broken_off(exchange, error)
            if not exchange.gone:
                event = error_event(502, str(as_failure(error)), "upstream_failed")
                await send({"type": "http.response.body", "body": event, "more_body": True})
        exchange.finished = True
        await send({"type": "http.response.body", "body": b""})

    async def _relay_block(self, exchange: Exchange, block: bytes, send: Send) -> None:
        """One or more whole events; raises before anything of a failed one is sent."""
        if exchange.heard is None:
            exchange.heard = clock()
        found = sse.FINISH.search(block)
        if found is not None:
            exchange.finish_reason = found[1].decode()
            if exchange.finish_reason == "abort":
                raise UpstreamFailure("abort", "the engine aborted the answer", status=503)
        if exchange.status is None and sse.ERROR.match(block):
            payload = next(iter(sse.payloads(block)), b"")
            raise refusal_of(None, payload)
        if b'"usage"' in block:
            exchange.tokens = sse.usage_in(block)
            if not exchange.wants_usage:
                block = sse.without_usage_event(block)
        if exchange.ttft_ms is None and sse.CONTENT.search(block):
            exchange.ttft_ms = (clock() - exchange.began) * 1000
        if exchange.parts is not None:
            exchange.parts.append(block)
        if exchange.status is None:
            await self._send_head(exchange, 200, [_EVENTS, (b"cache-control", b"no-cache")], send)
        if block:
            await send({"type": "http.response.body", "body": block, "more_body": True})

    async def _send_head(
        self, exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], send: Send
    ) -> None:
        exchange.status = status
        headers = headers + self._marks(exchange)
        await send({"type": "http.response.start", "status": status, "headers": headers})

    def _marks(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """Who answered, and what the gateway itself cost: all but the wait for the engine."""
        spent = clock() - exchange.began
        if exchange.asked is not None:
            spent -= (exchange.heard or clock()) - exchange.asked
        exchange.overhead_ms = max(0.0, spent * 1000)
        marks = [
            (b"x-request-id", exchange.request_id.encode()),
            (b"x-hallmark-overhead-ms", b"%.3f" % exchange.overhead_ms),
        ]
        assignment = exchange.assignment
        if assignment is not None:
            checkpoint = self._upstreams[assignment.variant].checkpoint
            experiment = self._experiment(assignment) or "none"
            marks += [
                (b"x-hallmark-variant", assignment.variant.encode()),
                (b"x-hallmark-checkpoint", checkpoint.encode()),
                (b"x-hallmark-experiment", experiment.encode("latin-1", "replace")),
            ]
        return marks

    def _experiment(self, assignment: Assignment) -> str | None:
        return None if assignment.pinned else self._settings.plan.experiment

    async def _refuse(self, exchange: Exchange, error: ApiError, send: Send) -> None:
        if error.reason is not None:
            self._series.rejections.labels(reason=error.reason).inc()
        if exchange.status is not None:  # the status line is out; the stream can only end
            await send({"type": "http.response.body", "body": b""})
            return
        body = error.body
        headers = [_JSON, (b"content-length", str(len(body)).encode())]
        if error.retry_after_seconds is not None:
            headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
        await self._send_head(exchange, error.status, headers, send)
        await send({"type": "http.response.body", "body": body})
        if exchange.upstream is None and exchange.assignment is not None:
            self._count(exchange, exchange.assignment.variant)

    def _failed(self, exchange: Exchange, failure: UpstreamFailure) -> ApiError:
        assert exchange.upstream is not None
        exchange.heard = exchange.heard or clock()
        variant = exchange.upstream.name
        self._series.failures.labels(variant=variant, reason=failure.reason).inc()
        return ApiError(
            failure.status,
            f"variant {variant}: {failure}; try again in a few seconds",
            "upstream_failed",
            retry_after_seconds=RESTART_RETRY_SECONDS,
        )

    def _broken_off(self, exchange: Exchange, error: Exception) -> None:
        """A stream failed after its status line: 200 was sent, and the failure is counted."""
        assert exchange.upstream is not None
        exchange.finish_reason = exchange.finish_reason or "error"
        self._series.failures.labels(
            variant=exchange.upstream.name, reason=as_failure(error).reason
        ).inc()

    def _leave(self, exchange: Exchange) -> None:
        """Give the slot back, count, and hand the record over."""
        upstream, assignment = exchange.upstream, exchange.assignment
        assert upstream is not None
        assert assignment is not None
        upstream.in_flight -= 1
        variant = upstream.name
        series = self._series
        series.in_flight.labels(variant=variant).dec()
        duration = self._count(exchange, variant)
        if exchange.ttft_ms is not None:
            series.ttft.labels(variant=variant).observe(exchange.ttft_ms / 1000)
        if exchange.overhead_ms is not None:
            series.overhead.labels(variant=variant).observe(exchange.overhead_ms / 1000)
        for kind, count in zip(("prompt", "completion"), exchange.tokens, strict=True):
            if count:
                series.tokens.labels(variant=variant, kind=kind).inc(count)
        self._recorder.put(exchange.record(self._experiment(assignment), duration_seconds=duration))

    def _count(self, exchange: Exchange, variant: str) -> float:
        """The request and its duration, which is returned in seconds."""
        duration = clock() - exchange.began
        status = str(exchange.status or CLIENT_GONE)
        self._series.requests.labels(variant=variant, route=exchange.route, status=status).inc()
        self._series.duration.labels(variant=variant, route=exchange.route).observe(duration)
        return duration


async def _watch(exchange: Exchange, receive: Receive, task: asyncio.Task[Any]) -> None:
    """Cancel the request's task once its client is gone, which closes the engine's side too."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not exchange.finished:
        exchange.gone = True
        task.cancel()
