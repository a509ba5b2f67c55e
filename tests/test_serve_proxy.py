"""The hot path over a fake engine: what passes, what is refused, what is recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import openai
import pytest

from tests.serving_fake import WORDS, Bench, bench

TEXT = "".join(WORDS)


@pytest.fixture
async def gateway() -> AsyncIterator[Bench]:
    async with bench(store_conversations=True) as running:
        yield running


def client(gateway: Bench, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.root}/v1", api_key=key, max_retries=0)


async def post(gateway: Bench, body: object, path: str = "/v1/chat/completions", **headers: str):
    """Status, headers and bytes of one request without any client library's help."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(gateway.root + path, data=data, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


def chat(said: str, **more: object) -> dict[str, object]:
    return {"model": "support@a", "messages": [{"role": "user", "content": said}], **more}


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


async def test_an_answer_passes_unchanged_and_says_who_gave_it(gateway):
    status, headers, data = await post(gateway, chat("hello", model="support", user="u1"))
    variant = headers["x-hallmark-variant"]
    assert status == 200
    assert json.loads(data)["choices"][0]["message"]["content"] == TEXT
    assert headers["x-hallmark-checkpoint"] == f"sha256:{variant * 64}"
    assert headers["x-hallmark-experiment"] == "spring"
    assert headers["x-request-id"].startswith("req-")
    assert 0 <= float(headers["x-hallmark-overhead-ms"]) < 50


async def test_an_unpinned_request_reaches_the_engine_byte_for_byte(gateway):
    raw = b'{ "model":"support", "messages":[{"role":"user","content":"hi"}], "x":1.10, "user":"u"}'
    _, headers, _ = await post(gateway, raw)
    engine = gateway.engines[headers["x-hallmark-variant"]]
    assert engine.raw == [raw]
    assert engine.headers[0]["X-Request-Id"] == headers["x-request-id"]


async def test_a_pinned_request_is_changed_in_its_model_alone(gateway):
    body = chat("hi", tools=[{"type": "function"}], logprobs=True, n=2, seed=10**30)
    _, headers, _ = await post(gateway, body)
    assert gateway.engines["a"].bodies == [body | {"model": "support"}]
    assert headers["x-hallmark-experiment"] == "none"


async def test_the_record_holds_what_happened(gateway):
    _, headers, _ = await post(gateway, chat("hello", model="support", user="u1"))
    row = await gateway.row(headers["x-request-id"])
    assert (row.status, row.route, row.experiment, row.pinned) == (200, "chat", "spring", False)
    assert row.variant == headers["x-hallmark-variant"]
    assert (row.prompt_tokens, row.completion_tokens, row.finish_reason) == (5, 7, "stop")
    assert row.unit_digest is not None
    assert "u1" not in row.unit_digest
    assert row.ttft_ms is None
    assert row.answer == TEXT


async def test_a_stream_reaches_the_openai_client_and_its_text_the_ledger(gateway):
    raw = await client(gateway).chat.completions.with_raw_response.create(
        model="support@b", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    chunks = [chunk async for chunk in raw.parse()]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    row = await gateway.row(raw.headers["x-request-id"])
    assert (row.answer, row.finish_reason, row.pinned) == (TEXT, "stop", True)
    assert (row.prompt_tokens, row.completion_tokens) == (5, 7)
    assert row.ttft_ms is not None
    assert 0 < row.ttft_ms <= row.duration_ms


async def test_usage_of_a_stream_is_sent_only_to_those_who_asked_for_it(gateway):
    _, _, plain = await post(gateway, chat("hi", stream=True))
    assert b'"usage"' not in plain
    assert plain.endswith(b"data: [DONE]\n\n")
    asked = chat("hi", stream=True, stream_options={"include_usage": True})
    _, _, data = await post(gateway, asked)
    assert data.count(b'"usage"') == 1
    await eventually(lambda: len(gateway.ledger.rows) == 2)
    tokens = {(row.prompt_tokens, row.completion_tokens) for row in gateway.ledger.rows.values()}
    assert tokens == {(5, 7)}


async def test_a_stream_cut_anywhere_by_the_network_arrives_whole(gateway):
    _, _, whole = await post(gateway, chat("hi", stream=True))
    _, _, cut = await post(gateway, chat("pieces", stream=True))
    assert cut == whole


async def test_completions_pass_too(gateway):
    answer = await client(gateway).completions.create(model="support@a", prompt="once")
    assert answer.choices[0].text == TEXT
    row = (await eventually(lambda: bool(gateway.ledger.rows))) or next(
        iter(gateway.ledger.rows.values())
    )
    assert (row.route, row.messages, row.answer) == ("completions", None, None)


async def test_personal_data_is_masked_before_it_is_stored(gateway):
    _, headers, _ = await post(gateway, chat("I am at jane.doe@example.org, order 4711"))
    row = await gateway.row(headers["x-request-id"])
    assert row.messages is not None
    assert row.messages[0].content == "I am at [EMAIL], order 4711"


async def test_conversations_are_not_stored_unless_asked_for():
    async with bench() as gateway:
        _, headers, _ = await post(gateway, chat("hello", stream=True))
        row = await gateway.row(headers["x-request-id"])
        assert (row.messages, row.answer, row.completion_tokens) == (None, None, 7)


async def test_invalid_json_says_where_it_breaks(gateway):
    status, _, data = await post(gateway, b'{"model": "x')
    error = json.loads(data)["error"]
    assert (status, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_json")
    assert "line 1 column 11" in error["message"]
    status, _, data = await post(gateway, b"[" * 200_000)
    assert (status, json.loads(data)["error"]["code"]) == (400, "invalid_json")


async def test_an_unknown_model_names_the_models_there_are(gateway):
    with pytest.raises(openai.NotFoundError, match="have support, support@a, support@b"):
        await client(gateway).chat.completions.create(
            model="gpt", messages=[{"role": "user", "content": "hi"}]
        )
    assert gateway.value("hallmark_rejections_total", reason="unknown_model") == 1


async def test_a_prompt_over_the_context_is_the_engines_400_in_openais_shape(gateway):
    with pytest.raises(openai.BadRequestError, match="maximum context length") as caught:
        await client(gateway).chat.completions.create(
            model="support", messages=[{"role": "user", "content": "context"}]
        )
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.type == "invalid_request_error"
    assert gateway.value("hallmark_rejections_total", reason="context_length") == 1


async def test_a_body_over_the_limit_is_413_announced_or_not():
    async with bench(max_body_bytes=1000) as gateway:
        status, _, data = await post(gateway, chat("x" * 2000))
        assert (status, json.loads(data)["error"]["code"]) == (413, "request_too_large")

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b"x" * 100

        async with (
            aiohttp.ClientSession() as session,
            session.post(gateway.root + "/v1/completions", data=pieces()) as answer,
        ):
            assert answer.status == 413


async def test_one_request_over_the_limit_in_flight_gets_429_with_retry_after():
    async with bench(max_in_flight=1) as gateway:
        first = asyncio.create_task(post(gateway, chat("wait")))
        await gateway.engines["a"].started.wait()
        status, headers, data = await post(gateway, chat("hi"))
        assert (status, headers["Retry-After"]) == (429, "1")
        assert json.loads(data)["error"]["type"] == "rate_limit_error"
        status, _, _ = await post(gateway, chat("hi", model="support@b"))
        assert status == 200
        gateway.engines["a"].release.set()
        assert (await first)[0] == 200
        assert (await post(gateway, chat("hi")))[0] == 200
        assert gateway.value("hallmark_in_flight_requests", variant="a") == 0


async def test_a_burst_never_exceeds_the_slots():
    async with bench(max_in_flight=4) as gateway:
        burst = [asyncio.create_task(post(gateway, chat("wait"))) for _ in range(40)]
        await eventually(lambda: sum(task.done() for task in burst) == 36)
        gateway.engines["a"].release.set()
        statuses = [status for status, _, _ in await asyncio.gather(*burst)]
        assert (statuses.count(200), statuses.count(429)) == (4, 36)


async def test_an_engine_that_is_not_up_is_503_with_retry_after(gateway):
    gateway.standing.upstreams["a"].state = "down"
    status, headers, data = await post(gateway, chat("hi"))
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "variant a is not ready (down)" in json.loads(data)["error"]["message"]
    assert gateway.value("hallmark_requests_total", variant="a", route="chat", status="503") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_aborted_answer_is_a_failure_and_not_an_empty_success(gateway, stream):
    status, headers, data = await post(gateway, chat("abort", stream=stream))
    assert (status, headers["Retry-After"]) == (503, "5")
    assert json.loads(data)["error"]["code"] == "upstream_failed"
    assert gateway.value("hallmark_upstream_failures_total", variant="a", reason="abort") == 1


async def test_an_error_as_first_event_becomes_a_status_and_not_200(gateway):
    status, headers, data = await post(gateway, chat("stream error", stream=True))
    assert (status, headers["Retry-After"]) == (503, "2")
    assert json.loads(data)["error"]["message"] == "no room in the queue"


@pytest.mark.parametrize(("said", "reason"), [("abort later", "abort"), ("break off", "stream")])
async def test_a_stream_that_fails_midway_ends_in_an_error_event(gateway, said, reason):
    stream = await client(gateway).chat.completions.create(
        model="support@a", messages=[{"role": "user", "content": said}], stream=True
    )
    got: list[str | None] = []

    async def read() -> None:
        async for chunk in stream:
            got.append(chunk.choices[0].delta.content)

    with pytest.raises(openai.APIError, match="the engine"):
        await read()
    assert "".join(got) == "Your order is"
    assert gateway.value("hallmark_upstream_failures_total", variant="a", reason=reason) == 1
    assert gateway.value("hallmark_in_flight_requests", variant="a") == 0


@pytest.mark.parametrize(
    ("said", "status", "reason"), [("busy", 503, None), ("broken", 502, "status")]
)
async def test_an_engines_own_errors_are_openais_and_carry_retry_after(
    gateway, said, status, reason
):
    got, headers, data = await post(gateway, chat(said))
    assert (got, json.loads(data)["error"]["type"]) == (status, "server_error")
    assert "html" not in data.decode()
    assert "Retry-After" in headers
    if reason:
        assert gateway.value("hallmark_upstream_failures_total", variant="a", reason=reason) == 1


async def test_a_connection_that_broke_before_the_answer_is_tried_once_more(gateway):
    status, _, _ = await post(gateway, chat("hang up once"))
    assert (status, len(gateway.engines["a"].bodies)) == (200, 2)


async def test_an_engine_that_always_hangs_up_is_503_after_two_tries(gateway):
    status, _, _ = await post(gateway, chat("hang up"))
    assert (status, len(gateway.engines["a"].bodies)) == (503, 2)
    assert gateway.value("hallmark_upstream_failures_total", variant="a", reason="connect") == 1


async def test_a_silent_engine_is_504():
    async with bench(request_timeout_seconds=0.2) as gateway:
        status, _, data = await post(gateway, chat("wait"))
        assert status == 504
        assert "silent" in json.loads(data)["error"]["message"]
        failures = {"variant": "a", "reason": "timeout"}
        assert gateway.value("hallmark_upstream_failures_total", **failures) == 1


@pytest.mark.parametrize(
    "body", [chat("wait"), chat("wait", stream=True), chat("wait later", stream=True)]
)
async def test_a_client_that_goes_away_frees_the_engine_within_a_second(gateway, body):
    task = asyncio.create_task(post(gateway, body))
    await gateway.engines["a"].started.wait()
    await asyncio.sleep(0.05)
    assert gateway.value("hallmark_in_flight_requests", variant="a") == 1
    task.cancel()
    await asyncio.wait_for(eventually(lambda: gateway.engines["a"].cancelled == 1), 1)
    await eventually(lambda: len(gateway.ledger.rows) == 1)
    assert next(iter(gateway.ledger.rows.values())).status == 499
    assert gateway.value("hallmark_in_flight_requests", variant="a") == 0


async def test_with_keys_set_only_their_holders_are_answered():
    async with bench(api_keys=("open-sesame",)) as gateway:
        with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer"):
            await client(gateway, "wrong").models.list()
        status, _, _ = await post(gateway, chat("hi"))
        assert status == 401
        models = [model.id async for model in client(gateway, "open-sesame").models.list()]
        assert models == ["support", "support@a", "support@b"]
        status, _, _ = await post(gateway, chat("hi"), Authorization="Bearer open-sesame")
        assert status == 200
        assert gateway.value("hallmark_rejections_total", reason="unauthorized") == 2


async def test_a_wrong_method_is_405_in_openais_shape(gateway):
    async with (
        aiohttp.ClientSession() as session,
        session.get(gateway.root + "/v1/chat/completions") as answer,
    ):
        assert answer.status == 405
        assert (await answer.json())["error"]["code"] == "method_not_allowed"
