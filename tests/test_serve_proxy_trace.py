"""Trace context: handed on as it came, or with a span of the gateway's own where one is sent."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from serve.tracing import trace_context
from tests.raw_engine import ask, chat
from tests.serving_fake import bench

ROOT = Path(__file__).resolve().parent.parent
# The example of https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"


def context(*headers: tuple[bytes, bytes]) -> dict[str, str]:
    return trace_context({"headers": list(headers)})


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        (GIVEN, True),
        (GIVEN.replace("00-", "cc-", 1) + "-what-the-future-brings", True),
        (GIVEN + "-more", False),
        (GIVEN.replace("00-", "ff-", 1), False),
        (GIVEN.replace(TRACE, "0" * 32), False),
        (GIVEN.replace(PARENT, "0" * 16), False),
        (GIVEN.upper(), False),
        ("00-123", False),
    ],
)
def test_only_a_valid_traceparent_is_handed_on(given, passes):
    found = context((b"traceparent", given.encode()), (b"tracestate", b"a=1"))
    assert found == ({"traceparent": given, "tracestate": "a=1"} if passes else {})


def test_several_tracestate_headers_are_one_list():
    found = context(
        (b"traceparent", GIVEN.encode()), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")
    )
    assert found["tracestate"] == "a=1,b=2"


async def test_without_a_collector_the_context_reaches_the_engine_as_it_came():
    async with bench() as gateway:
        await ask(gateway, chat(), traceparent=GIVEN, tracestate="vendor=x")
        headers = gateway.engines["a"].headers[0]
        assert (headers["traceparent"], headers["tracestate"]) == (GIVEN, "vendor=x")
        await ask(gateway, chat())
        assert "traceparent" not in gateway.engines["a"].headers[1]


def test_without_a_collector_nothing_of_opentelemetry_is_imported():
    code = "import sys, serve.app; print([m for m in sys.modules if 'opentelemetry' in m])"
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert outcome.stdout.strip() == "[]"


@contextlib.asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An OTLP collector's HTTP address, and what was sent there."""
    sent: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        sent.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}/v1/traces", sent
    await runner.cleanup()


async def test_a_request_becomes_one_span_of_the_genai_conventions_without_its_text():
    async with collector() as (endpoint, sent):
        async with bench(traces_endpoint=endpoint) as gateway:
            asked = chat("a secret", model="support", user="u1", temperature=0.5, seed=10**30)
            _, headers, _ = await ask(gateway, asked, traceparent=GIVEN)
            status, _, _ = await ask(gateway, chat("stream error", stream=True))
            variant = headers["x-hallmark-variant"]
            engine = gateway.engines[variant].headers[0]["traceparent"].split("-")
        assert status == 503
    spans = []
    for body in sent:
        assert b"secret" not in body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    answered, refused = sorted(spans, key=lambda span: span.start_time_unix_nano)
    found = {pair.key: pair.value for pair in answered.attributes}
    assert answered.name == "chat support"
    assert (answered.trace_id.hex(), answered.parent_span_id.hex()) == (TRACE, PARENT)
    assert engine[1:3] == [TRACE, answered.span_id.hex()]
    assert found["gen_ai.operation.name"].string_value == "chat"
    assert found["gen_ai.request.temperature"].double_value == 0.5
    assert found["gen_ai.usage.input_tokens"].int_value == 5
    assert found["gen_ai.usage.output_tokens"].int_value == 7
    reasons = found["gen_ai.response.finish_reasons"].array_value.values
    assert [value.string_value for value in reasons] == ["stop"]
    assert found["hallmark.variant"].string_value == variant
    assert found["hallmark.request_id"].string_value == headers["x-request-id"]
    assert "gen_ai.request.seed" not in found  # more than a span can hold
    failed = {pair.key: pair.value for pair in refused.attributes}
    assert failed["error.type"].string_value == "overloaded"
    assert failed["http.response.status_code"].int_value == 503
    assert refused.status.code == refused.status.STATUS_CODE_ERROR
