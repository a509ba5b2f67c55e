"""The hot path: chat completions, completions and embeddings as raw ASGI.

Read the body once; take an in-flight slot; assign; change ``model`` only where a variant is
pinned (and ask a stream for its usage, which is taken out again for clients that did not);
send it to the variant's engine; look at the first event before sending a status line; pass
bytes through; read only the tail; leave one record.

It does not know how engines are started or what a record becomes.
"""

from __future__ import annotations

import asyncio
import logging

from monitoring.series import Series
from serve import sse
from serve.assignment import Assigner
from serve.closing import Closing
from serve.consent import HEADER as CONSENT
from serve.consent import purposes_of
from serve.engine_client import Answer, UpstreamFailure
from serve.errors import ApiError, error_event
from serve.exchange import CLIENT_GONE, ROUTES, Exchange, clock, parse_body, rewritten, user_of
from serve.keys import KeyRing
from serve.limits import ClientGone, Receive, Scope, Send, header, read_body, when_gone
from serve.meter import Meter
from serve.quotas import Quotas, tokens_asked
from serve.recorder import Recorder
from serve.refusals import check_answer, refusal_of
from serve.replicas import Fleet
from serve.settings import ServeSettings
from serve.shadow import Shadows
from serve.tracing import open_spans, trace_context

log = logging.getLogger("hallmark.proxy")

RETRY_SECONDS = 5
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


class Proxy:
    """Answers requests; one per gateway process. ``draining`` refuses new ones."""

    def __init__(
        self,
        settings: ServeSettings,
        assigner: Assigner,
        fleet: Fleet,
        recorder: Recorder,
        series: Series,
        keys: KeyRing,
        quotas: Quotas,
        shadows: Shadows | None = None,
    ) -> None:
        self.draining = False
        self._settings = settings
        self._assigner = assigner
        self._fleet = fleet
        self._series = series
        self._keys = keys
        self._quotas = quotas
        self._meters = {name: Meter(series, name) for name in fleet.replicas}
        self._spans = open_spans(settings.traces_endpoint)
        self._closing = Closing(settings.plan, recorder, self._meters, quotas, self._spans, shadows)

    def close(self) -> None:
        """Send the spans that wait. Takes seconds where nobody collects them."""
        if self._spans is not None:
            self._spans.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        exchange = Exchange(ROUTES[path], path, context=trace_context(scope))
        if self._spans is not None:
            self._spans.begin(exchange)
        try:
            raw = await self._accept(exchange, scope, receive)
            await self._answer(exchange, raw, scope, receive, send)
        except ClientGone:
            pass
        except ApiError as error:
            await self._refuse(exchange, error, send)
        except Exception:  # the request boundary: a 500 with an id, and the gateway lives on
            log.exception("request %s failed", exchange.request_id)
            message = f"the gateway failed; its log has the reason under {exchange.request_id}"
            await self._refuse(exchange, ApiError(500, message, "internal_error"), send)
        finally:
            self._closing.close(exchange)

    async def _accept(self, exchange: Exchange, scope: Scope, receive: Receive) -> bytes:
        """Who asks, what, and whose engine should answer. Gives the body as it came."""
        exchange.key = self._keys.check(header(scope, b"authorization"), "chat")
        if scope["method"] != "POST":
            raise ApiError(405, f"{exchange.path} takes POST", "method_not_allowed")
        raw = await read_body(scope, receive, self._settings.max_body_bytes)
        exchange.began = clock()
        body = exchange.body = parse_body(raw)
        exchange.stream = body.get("stream") is True
        exchange.purposes = purposes_of(body, header(scope, CONSENT))
        model, unit = body.get("model"), header(scope, b"x-hallmark-unit")
        exchange.user = user_of(body, unit)
        exchange.assignment = self._assigner.assign(model, body, unit)
        if exchange.stream:
            options = body.get("stream_options") or {}
            exchange.wants_usage = not isinstance(options, dict) or bool(
                options.get("include_usage")
            )
        if self._keeps_conversation(exchange):
            exchange.parts = []
        return raw

    def _keeps_conversation(self, exchange: Exchange) -> bool:
        if not self._settings.store_conversations or exchange.route != "chat":
            return False
        if exchange.purposes is None:
            return not self._settings.require_consent
        return bool(exchange.purposes)

    async def _answer(
        self, exchange: Exchange, raw: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Take a slot and relay; stop the engine's work at once where the client goes away."""
        task = asyncio.current_task()
        assert task is not None

        def gone() -> None:
            if not exchange.finished and not exchange.ended:  # many hang up at [DONE]
                exchange.gone = True
                task.cancel()  # which closes the engine's side too

        end_watch = when_gone(scope, receive, gone)
        try:
            await self._take_slot(exchange)
            await self._relay(exchange, raw, send)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            task.uncancel()
            exchange.status = CLIENT_GONE
        finally:
            exchange.finished = True
            end_watch()

    async def _take_slot(self, exchange: Exchange) -> None:
        """Of the key's limits and of the variant's engine. Raises ApiError 429 or 503.

        A free slot is taken before anything is awaited: the number in flight is exact.
        """
        key, assignment = exchange.key, exchange.assignment
        assert key is not None
        assert assignment is not None
        if self.draining:
            raise ApiError(
                503,
                "the gateway is shutting down; try again soon",
                "not_ready",
                reason="not_ready",
                retry_after_seconds=RETRY_SECONDS,
            )
        if key.limited:
            exchange.reservation = await self._quotas.reserve(key, tokens_asked(exchange.body))
        lease = await self._fleet.lease(
            assignment.variant, assignment.unit_digest, pinned=assignment.pinned
        )
        exchange.lease = lease
        self._meters[lease.upstream.name].taken()

    async def _relay(self, exchange: Exchange, raw: bytes, send: Send) -> None:
        """Ask the engine, and another replica of it where it failed before the first byte."""
        lease, assignment = exchange.lease, exchange.assignment
        assert lease is not None
        assert assignment is not None
        model = lease.upstream.model
        if model is None and assignment.pinned:
            model = self._settings.plan.model_name
        body = rewritten(raw, exchange.body, model, ask_usage=not exchange.wants_usage)
        exchange.asked = clock()
        while True:
            try:
                await self._ask(exchange, body, send)
                return
            except UpstreamFailure as failure:
                exchange.failure = failure.reason
                self._meters[lease.upstream.name].failed(failure.reason)
                if exchange.status is not None or not lease.move_on(failure):
                    raise self._failed(exchange, failure) from failure
                exchange.failure = None
                exchange.restart()

    async def _ask(self, exchange: Exchange, body: bytes, send: Send) -> None:
        """Raises UpstreamFailure where the engine fails."""
        assert exchange.lease is not None
        upstream = exchange.lease.upstream
        headers = {"X-Request-Id": exchange.request_id, **exchange.context}
        response = await upstream.post(exchange.path, body, headers)
        async with response:
            if response.status == 404 and exchange.route == "embeddings":
                raise _no_embeddings(upstream.name)
            if response.status != 200:
                raise refusal_of(response.status, await response.read())
            if response.content_type == "text/event-stream":
                await self._relay_stream(exchange, response, send)
            else:
                await self._relay_whole(exchange, response, send)

    async def _relay_whole(self, exchange: Exchange, response: Answer, send: Send) -> None:
        data = await response.read()
        exchange.heard = clock()
        check_answer(data)
        exchange.tokens = sse.usage_in(data)
        found = sse.FINISH.search(data)
        exchange.finish_reason = found[1].decode() if found else None
        if exchange.parts is not None:
            exchange.parts.append(data)
        length = (b"content-length", str(len(data)).encode())
        await self._send_head(exchange, 200, [_JSON, length], send)
        exchange.finished = True
        await send({"type": "http.response.body", "body": data})

    async def _relay_stream(self, exchange: Exchange, response: Answer, send: Send) -> None:
        events = sse.Events()
        read = response.readany
        try:
            while chunk := await read():
                if block := events.feed(chunk):
                    await self._relay_block(exchange, block, send)
            if rest := events.rest():
                await self._relay_block(exchange, rest, send)
            if exchange.status is None:
                raise UpstreamFailure("stream", "the engine sent an empty stream")
            whole = exchange.ended and exchange.finish_reason is not None
            if not whole and not exchange.complained:
                raise UpstreamFailure("stream", "the engine ended its answer early")
        except UpstreamFailure as failure:
            if exchange.status is None:
                raise
            self._broken_off(exchange, failure)
            if not exchange.gone:
                event = error_event(502, str(failure), "upstream_failed")
                if exchange.cut:
                    event = sse.END + event
                await send({"type": "http.response.body", "body": event, "more_body": True})
        finally:
            exchange.tokens = sse.usage_in(exchange.tail)
        exchange.finished = True
        await send({"type": "http.response.body", "body": b""})

    async def _relay_block(self, exchange: Exchange, block: bytes, send: Send) -> None:
        """One or more whole events; raises before anything of a failed one is sent."""
        if exchange.status is None:
            block = exchange.prelude + block
            if b"data:" not in block and len(block) < sse.MAX_HELD_BYTES:
                exchange.prelude = block  # comments only: no event has been seen yet
                return
            exchange.heard = clock()
        found = sse.FINISH.search(block)
        if found is not None:
            exchange.finish_reason = found[1].decode()
            if sse.ABORT.search(block):
                exchange.finish_reason = "abort"
                raise UpstreamFailure("abort", "the engine aborted the answer", status=503)
        if b'"error"' in block and (error := sse.ERROR.search(block)):
            if exchange.status is None:
                raise refusal_of(None, error[1])
            exchange.complained = True
            self._broken_off(exchange, UpstreamFailure("stream", "the engine failed"))
        if exchange.ttft_ms is None and sse.CONTENT.search(block):
            exchange.ttft_ms = (clock() - exchange.began) * 1000
        if exchange.parts is not None:
            exchange.parts.append(block)
        exchange.cut = not block.endswith(sse.ENDS)
        if b"[DONE]" in block[-16:]:
            exchange.ended = True
        if b'"usage"' in block:
            exchange.tail = block
            if not exchange.wants_usage:
                block = sse.without_usage_event(block)
        if exchange.status is None:
            await self._send_head(exchange, 200, [_EVENTS, (b"cache-control", b"no-cache")], send)
        if block:
            await send({"type": "http.response.body", "body": block, "more_body": True})

    async def _send_head(
        self, exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], send: Send
    ) -> None:
        exchange.status = status
        if status == 200 and exchange.lease is not None:
            exchange.lease.heard()
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
        assignment, lease = exchange.assignment, exchange.lease
        if assignment is not None:
            one = lease.upstream if lease else self._fleet.replicas[assignment.variant]
            experiment = self._closing.experiment(exchange) or "none"
            marks += [
                (b"x-hallmark-variant", one.name.encode()),
                (b"x-hallmark-checkpoint", one.checkpoint.encode()),
                (b"x-hallmark-experiment", experiment.encode("latin-1", "replace")),
            ]
        return marks

    async def _refuse(self, exchange: Exchange, error: ApiError, send: Send) -> None:
        exchange.error = error.code
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

    def _failed(self, exchange: Exchange, failure: UpstreamFailure) -> ApiError:
        assert exchange.lease is not None
        exchange.heard = exchange.heard or clock()
        return ApiError(
            failure.status,
            f"variant {exchange.lease.upstream.name}: {failure}; try again in a few seconds",
            "upstream_failed",
            retry_after_seconds=RETRY_SECONDS,
        )

    def _broken_off(self, exchange: Exchange, failure: UpstreamFailure) -> None:
        """A stream failed after its status line: 200 was sent, and the failure is counted."""
        assert exchange.lease is not None
        exchange.finish_reason = exchange.finish_reason or "error"
        exchange.failure = failure.reason
        self._meters[exchange.lease.upstream.name].failed(failure.reason)


def _no_embeddings(variant: str) -> ApiError:
    return ApiError(
        404,
        f"the checkpoint of variant {variant} makes no embeddings; ask /v1/chat/completions "
        "or /v1/completions",
        "not_found",
        reason="invalid_request",
    )
