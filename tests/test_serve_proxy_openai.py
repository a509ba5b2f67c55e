"""The unmodified ``openai`` client over real vLLM: what it asks for works through the gateway."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

pytestmark = pytest.mark.engine

QUESTION: list[Any] = [{"role": "user", "content": "Where is my order 10042?"}]
YES_OR_NO = {"structured_outputs": {"choice": ["yes", "no"]}}


@pytest.fixture
def client(running_server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=running_server.base_url, api_key=running_server.api_key, max_retries=0
    ) as made:
        yield made


def test_logprobs_come_with_their_alternatives_streamed_and_whole(client):
    asked: dict[str, Any] = {
        "model": "support@a", "messages": QUESTION, "max_tokens": 4, "temperature": 0,
        "logprobs": True, "top_logprobs": 3,
    }  # fmt: skip
    whole = client.chat.completions.create(**asked).choices[0].logprobs.content
    streamed = [
        token
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        for token in (choice.logprobs.content if choice.logprobs else None) or ()
    ]
    assert [len(token.top_logprobs) for token in whole] == [3] * 4
    assert [token.token for token in streamed] == [token.token for token in whole]
    for one, other in zip(streamed, whole, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_n_answers_come_side_by_side(client):
    asked: dict[str, Any] = {
        "model": "support@a", "messages": QUESTION, "max_tokens": 4, "n": 3, "seed": 7,
        "extra_body": {"ignore_eos": True},
    }  # fmt: skip
    answer = client.chat.completions.create(**asked)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 12
    chunks = list(client.chat.completions.create(**asked, stream=True))
    finished = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(finished) == [0, 1, 2]


def test_the_usage_of_a_stream_is_there_for_who_asks_and_only_then(client):
    asked: dict[str, Any] = {"model": "support@a", "messages": QUESTION, "max_tokens": 4}
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert all(chunk.usage is None for chunk in chunks)
    wished = {"include_usage": True}
    *_, last = client.chat.completions.create(**asked, stream=True, stream_options=wished)
    assert last.choices == []
    assert last.usage.completion_tokens >= 1


def test_structured_output_keeps_to_its_structure(client):
    for _ in range(4):
        answer = client.chat.completions.create(
            model="support@a", messages=QUESTION, max_tokens=8, extra_body=YES_OR_NO
        )
        assert answer.choices[0].message.content in ("yes", "no")


def test_a_named_tool_is_called_with_arguments_of_its_schema(client):
    parameters = {
        "type": "object",
        "properties": {"urgent": {"enum": ["yes", "no"]}},
        "required": ["urgent"],
        "additionalProperties": False,
    }
    function = {"name": "look_up", "parameters": parameters, "strict": True}
    answer = client.chat.completions.create(
        model="support@a",
        messages=QUESTION,
        max_tokens=200,
        tools=[{"type": "function", "function": function}],
        tool_choice={"type": "function", "function": {"name": "look_up"}},
    )
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "look_up"
    if answer.choices[0].finish_reason != "length":  # a model of noise may write blanks for ever
        assert json.loads(call.function.arguments)["urgent"] in ("yes", "no")


def test_a_wrong_key_is_an_authentication_error(running_server):
    with (
        openai.OpenAI(base_url=running_server.base_url, api_key="wrong", max_retries=0) as made,
        pytest.raises(openai.AuthenticationError),
    ):
        made.models.list()


def test_a_model_that_generates_says_that_it_makes_no_embeddings(client):
    with pytest.raises(openai.NotFoundError, match="makes no embeddings"):
        client.embeddings.create(model="support@a", input="order")


def running(server: Any) -> float:
    """Requests that variant a's engine works on now, by its own series."""
    request = urllib.request.Request(
        f"{server.root}/metrics/engines/a", headers={"Authorization": f"Bearer {server.api_key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("vllm:num_requests_running")
    )


def settled(server: Any, wanted: bool, seconds: float) -> float:
    """Seconds until the engine is busy, or idle."""
    began = time.monotonic()
    while (running(server) > 0) is not wanted:
        assert time.monotonic() - began < seconds, f"after {seconds} s: {running(server)} running"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_engine_within_a_second(running_server, client, stream):
    asked: dict[str, Any] = {
        "model": "support@a", "messages": QUESTION, "max_tokens": 900,
        "extra_body": {"ignore_eos": True}, "stream": stream,
    }  # fmt: skip
    settled(running_server, False, 30)
    if stream:
        answer = client.chat.completions.create(**asked)
        next(iter(answer))
        settled(running_server, True, 5)
        answer.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).chat.completions.create(**asked)
    assert settled(running_server, False, 5) < 1
