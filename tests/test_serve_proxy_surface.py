"""The rest of OpenAI's surface: what passes untouched, embeddings, and the marks on answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.exchange import rewritten
from tests.raw_engine import JSON_HEAD, ask, chat, gateway_over
from tests.serving_fake import bench

PINNED = (
    b'{ "model" : "support@a",\n "prompt": "once", "echo": true, "logprobs": 1,'
    b' "temperature": 1.10, "n": 2, "tools": [], "response_format": {"type": "json_schema"},'
    b' "x": 1e400, "y": 1, "y": 2, "user": "\\ud83d\\ude00" }'
)
EMBEDDINGS = (
    b'{"object":"list","data":[{"index":0,"embedding":[0.25,-1.0]}],"model":"support",'
    b'"usage":{"prompt_tokens":4,"total_tokens":4}}'
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


async def test_of_a_pinned_request_only_the_models_name_is_rewritten():
    async with bench() as gateway:
        status, _, _ = await ask(gateway, PINNED, "/v1/completions")
        assert status == 200
        assert gateway.engines["a"].raw == [PINNED.replace(b"support@a", b"support")]


async def test_of_a_stream_only_the_wish_for_its_usage_is_added():
    raw = b'{"messages":[{"role":"user","content":"hi"}],  "stream":true,"model":"support@a"}'
    async with bench() as gateway:
        await ask(gateway, raw)
        [sent] = gateway.engines["a"].raw
    wished = b'{"stream_options":{"include_usage":true},'
    assert sent == wished + raw[1:].replace(b"support@a", b"support")


@given(
    fields=st.dictionaries(st.text(), JSON_VALUES, max_size=4),
    name=st.text(min_size=1, max_size=8),
    compact=st.booleans(),
    ask_usage=st.booleans(),
)
def test_a_rewritten_body_means_the_same_but_for_its_model(fields, name, compact, ask_usage):
    body = {**fields, "model": name}
    if not isinstance(body.get("stream_options", {}), dict):
        del body["stream_options"]
    raw = json.dumps(body, separators=(",", ":") if compact else None).encode()
    wanted = {**body, "model": "support"}
    if ask_usage:
        wanted["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}
    assert json.loads(rewritten(raw, body, "support", ask_usage)) == wanted


@pytest.mark.parametrize(
    "raw",
    [
        b'{"metadata": {"model": "support@a"}, "model": "support@a"}',
        b'{"mod\\u0065l": "support@a", "metadata": {"model": "x"}}',
        '{"model": "support@a", "user": "é"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"model": "support@a"}',
        b'{"user": "x\\"model\\": \\"support@b\\"", "model": "support@a"}',
        b'{"model": "support@b", "model": "support@a"}',
    ],
)
def test_bodies_that_could_be_misread_are_rewritten_by_what_they_say(raw):
    body = json.loads(raw)
    found = json.loads(rewritten(raw, body, "support", True))
    assert found == {**body, "model": "support", "stream_options": {"include_usage": True}}


async def test_embeddings_pass_where_the_engine_has_them():
    async def embed(body, writer) -> None:
        writer.write(JSON_HEAD + EMBEDDINGS)

    async with gateway_over(embed) as (gateway, engine):
        asked = {"model": "support@a", "input": ["order"]}
        status, headers, data = await ask(gateway, asked, "/v1/embeddings")
        assert (status, data) == (200, EMBEDDINGS)
        assert engine.asked == [{"model": "support", "input": ["order"]}]
        row = await gateway.row(headers["x-request-id"])
        assert (row.route, row.prompt_tokens, row.completion_tokens) == ("embeddings", 4, None)
        assert row.messages is None


async def test_an_engine_without_embeddings_says_what_to_ask_instead():
    async with bench() as gateway:
        asked = {"model": "support@a", "input": "order"}
        status, _, data = await ask(gateway, asked, "/v1/embeddings")
        error = json.loads(data)["error"]
        assert (status, error["type"]) == (404, "invalid_request_error")
        assert "makes no embeddings; ask /v1/chat/completions" in error["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (chat(), 200),
        (chat(stream=True), 200),
        (chat("context"), 400),
        (chat("busy"), 503),
        (chat("broken"), 502),
        (chat(model="gpt"), 404),
        (b"{", 400),
    ],
)
async def test_every_answer_tells_its_id_and_what_the_gateway_cost(body, status):
    async with bench() as gateway:
        got, headers, _ = await ask(gateway, body)
        assert got == status
        assert headers["x-request-id"].startswith("req-")
        assert 0 <= float(headers["x-hallmark-overhead-ms"]) < 500
        if status == 503:
            assert int(headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("pin", "variant"), [("b", "b"), ("sha256:" + "b" * 64, "b"), ("sha256:aaaaaaaa", "a")]
)
async def test_a_variant_is_pinned_by_name_and_by_digest(pin, variant):
    async with bench() as gateway:
        _, headers, _ = await ask(gateway, chat(model=f"support@{pin}"))
        assert headers["x-hallmark-variant"] == variant
        assert gateway.engines[variant].bodies[0]["model"] == "support"
