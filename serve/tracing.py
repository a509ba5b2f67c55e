"""W3C trace context handed on to the engine, and spans where somebody collects them.

Without an endpoint nothing of OpenTelemetry is imported, and ``traceparent`` passes as it
came. With one, each request becomes a span of OpenTelemetry's GenAI conventions, exported in
batches by a thread of its own; a full queue drops spans and never blocks an answer. What was
asked and answered is never part of a span.

Sources: https://www.w3.org/TR/trace-context/ and
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import re
from typing import Any

from registry.records import UserError
from serve.exchange import CLIENT_GONE, Exchange
from serve.limits import Scope, header

_TRACEPARENT = re.compile(
    rb"([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_OPERATIONS = {"chat": "chat", "completions": "text_completion", "embeddings": "embeddings"}
_NUMBERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}
MAX_NUMBER = 2**63  # what OTLP can carry
FLUSH_SECONDS = 5


class TracingError(UserError):
    """Spans are asked for and cannot be made here."""


def trace_context(scope: Scope) -> dict[str, str]:
    """``traceparent`` and ``tracestate`` of a request, to hand on; empty where invalid."""
    parent = header(scope, b"traceparent")
    if parent is None or not _valid(parent):
        return {}
    context = {"traceparent": parent.decode("ascii")}
    state = b",".join(value for name, value in scope["headers"] if name == b"tracestate")
    if state and state.isascii():
        context["tracestate"] = state.decode("ascii")
    return context


def _valid(parent: bytes) -> bool:
    """Version ff is none, and only versions after 00 may say more after the flags."""
    found = _TRACEPARENT.fullmatch(parent)
    return found is not None and found[1] != b"ff" and not (found[1] == b"00" and found[2])


def open_spans(endpoint: str | None) -> Spans | None:
    """Spans sent to ``endpoint`` (OTLP over HTTP, .../v1/traces); None without one.

    Raises TracingError where OpenTelemetry is not installed.
    """
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(
            f"spans for {endpoint} need OpenTelemetry; run `pip install 'hallmark-gate[trace]'`, "
            "or unset HALLMARK_TRACES_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "hallmark"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Spans(provider)


class Spans:
    """One span per request. ``provider`` is an OpenTelemetry SDK's TracerProvider."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("hallmark")
        self._kind = SpanKind.CLIENT
        self._error = StatusCode.ERROR
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, exchange: Exchange) -> None:
        """Open the exchange's span below its caller's, and make it the one to hand on."""
        from opentelemetry.trace import set_span_in_context

        operation = _OPERATIONS[exchange.route]
        exchange.span = self._tracer.start_span(
            operation,
            context=self._propagator.extract(exchange.context),
            kind=self._kind,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "vllm",
                "hallmark.request_id": exchange.request_id,
            },
        )
        context: dict[str, str] = {}
        self._propagator.inject(context, set_span_in_context(exchange.span))
        exchange.context = context

    def end(self, exchange: Exchange, model: str) -> None:
        """Close the span with what became known; ``model`` is the served name."""
        span = exchange.span
        if span.is_recording():
            span.update_name(f"{_OPERATIONS[exchange.route]} {model}")
            span.set_attributes(_attributes(exchange, model))
            if exchange.failure is not None or (exchange.status or CLIENT_GONE) >= 500:
                span.set_status(self._error, exchange.failure or exchange.error)
        span.end()

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._provider.force_flush(FLUSH_SECONDS * 1000)
        self._provider.shutdown()


def _attributes(exchange: Exchange, model: str) -> dict[str, Any]:
    body, status = exchange.body, exchange.status or CLIENT_GONE
    found: dict[str, Any] = {"http.response.status_code": status}
    if exchange.assignment is not None:
        found["gen_ai.request.model"] = model
        found["hallmark.variant"] = exchange.assignment.variant
    if exchange.lease is not None:
        found["gen_ai.response.model"] = model
        found["hallmark.variant"] = exchange.lease.upstream.name
        found["hallmark.checkpoint"] = exchange.lease.upstream.checkpoint
    for name, attribute in _NUMBERS.items():
        value = body.get(name)
        if isinstance(value, int | float) and abs(value) < MAX_NUMBER:
            found[attribute] = value
    if exchange.stream:
        found["gen_ai.request.stream"] = True
    if exchange.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = (exchange.finish_reason,)
    for kind, count in zip(("input", "output"), exchange.tokens, strict=True):
        if count is not None:
            found[f"gen_ai.usage.{kind}_tokens"] = count
    if exchange.ttft_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = exchange.ttft_ms / 1000
    if exchange.overhead_ms is not None:
        found["hallmark.overhead_ms"] = exchange.overhead_ms
    if failed := exchange.failure or exchange.error or (str(status) if status >= 400 else None):
        found["error.type"] = failed
    return found
