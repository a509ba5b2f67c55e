"""The real thing: `hallmark serve` with two vLLM engines, driven by the ``openai`` client."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from registry.ledger import Ledger
from registry.served import RequestRecord

pytestmark = pytest.mark.engine

QUESTION: list[Any] = [{"role": "user", "content": "Where is my order 10042?"}]


@pytest.fixture
def client(running_server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=running_server.base_url, api_key=running_server.api_key or "none", max_retries=0
    ) as made:
        yield made


@pytest.fixture
def ledger(running_server) -> Iterator[Ledger]:
    opened = Ledger(running_server.home.ledger_url)
    yield opened
    opened.close()


def ask(client: openai.OpenAI, model: str = "support", **more: Any) -> Any:
    return client.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, max_tokens=8, **more
    )


def eventually(find: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def get(server: Any, path: str) -> tuple[str, str]:
    request = urllib.request.Request(
        server.root + path, headers={"Authorization": f"Bearer {server.api_key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_an_answer_names_variant_checkpoint_experiment_and_request(running_server, client, ledger):
    raw = ask(client, user="someone")
    answer, headers = raw.parse(), raw.headers
    assert answer.model == "support"
    assert answer.usage.completion_tokens == 8
    variant = headers["x-hallmark-variant"]
    assert headers["x-hallmark-checkpoint"] == running_server.checkpoints[variant]
    assert headers["x-hallmark-experiment"] == "spring"
    assert float(headers["x-hallmark-overhead-ms"]) >= 0
    row: RequestRecord = eventually(lambda: ledger.request(headers["x-request-id"]))
    assert (row.variant, row.status, row.experiment) == (variant, 200, "spring")
    assert (row.completion_tokens, row.finish_reason) == (8, "length")
    assert row.checkpoint == running_server.checkpoints[variant]
    # A random model may say NUL, which PostgreSQL stores in no text: the ledger replaces it.
    assert row.answer == answer.choices[0].message.content.replace("\0", "\ufffd")


def test_a_stream_gives_the_same_text_as_a_whole_answer(client, ledger):
    greedy: dict[str, Any] = {"model": "support@a", "temperature": 0}
    whole = ask(client, **greedy).parse().choices[0].message.content
    raw = ask(client, **greedy, stream=True)
    chunks = list(raw.parse())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert chunks[-1].choices[0].finish_reason == "length"
    row = eventually(lambda: ledger.request(raw.headers["x-request-id"]))
    assert (row.answer, row.completion_tokens, row.pinned) == (whole, 8, True)
    assert 0 < row.ttft_ms < row.duration_ms


def test_units_stay_with_their_variant_and_both_variants_are_used(client):
    seen = [
        {ask(client, user=f"u{number}").headers["x-hallmark-variant"] for _ in range(2)}
        for number in range(12)
    ]
    assert all(len(variants) == 1 for variants in seen)
    assert set.union(*seen) == {"a", "b"}


def test_a_variant_is_pinned_by_name_and_by_digest(running_server, client):
    for variant, digest in running_server.checkpoints.items():
        for pin in (variant, digest):
            headers = ask(client, f"support@{pin}", user="someone").headers
            assert headers["x-hallmark-variant"] == variant
            assert headers["x-hallmark-experiment"] == "none"


def test_the_variants_are_different_models(client):
    def logprob(variant: str) -> float:
        answer = client.completions.create(
            model=f"support@{variant}", prompt="order", max_tokens=1, temperature=0, logprobs=1
        )
        return answer.choices[0].logprobs.token_logprobs[0]

    assert logprob("a") != logprob("b")


def test_completions_echo_log_likelihoods(client):
    answer = client.completions.create(
        model="support@a", prompt="order", max_tokens=1, echo=True, logprobs=1, temperature=0
    )
    logprobs = answer.choices[0].logprobs.token_logprobs
    assert logprobs[0] is None
    assert all(value < 0 for value in logprobs[1:])
    assert answer.choices[0].text.startswith("order")


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["support", "support@a", "support@b"]


def test_feedback_leads_from_the_answer_to_its_variant(running_server, client, ledger):
    raw = ask(client, user="someone")
    request_id = raw.headers["x-request-id"]
    said = {"request_id": request_id, "kind": "edit", "text": "It arrives tomorrow."}
    answer: Any = client.post("/feedback", body=said, cast_to=object)
    assert answer["recorded"] is True
    eventually(lambda: ledger.request(request_id))
    found = [a for a in ledger.answers_with_feedback() if a.request.request_id == request_id]
    assert [feedback.text for feedback in found[0].feedback] == ["It arrives tomorrow."]
    assert found[0].request.variant == raw.headers["x-hallmark-variant"]
    assert found[0].request.messages[0].content == QUESTION[0]["content"]


def test_feedback_is_exported_as_preferences(running_server, client, ledger, tmp_path):
    raw = ask(client, user="exporter")
    said = {"request_id": raw.headers["x-request-id"], "kind": "edit", "text": "Tomorrow!"}
    client.post("/feedback", body=said, cast_to=object)
    eventually(lambda: ledger.request(raw.headers["x-request-id"]))
    outcome = subprocess.run(
        [
            sys.executable, "-m", "hallmark", "--home", str(running_server.home.root),
            "feedback", "export", str(tmp_path / "out"),
        ],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    rows = (tmp_path / "out" / "preferences.jsonl").read_text().splitlines()
    assert any(json.loads(row)["chosen"][-1]["content"] == "Tomorrow!" for row in rows)


def test_errors_are_those_the_client_knows(client):
    with pytest.raises(openai.NotFoundError, match="have support, support@a, support@b"):
        ask(client, "gpt-5")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="support", messages=[{"role": "user", "content": "order " * 1000}]
        )
    assert caught.value.code == "context_length_exceeded"
    assert "1024" in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, temperature=-1.0)
    assert caught.value.type == "invalid_request_error"


def test_invalid_json_is_400_in_openais_shape(running_server):
    request = urllib.request.Request(
        running_server.base_url + "/chat/completions", data=b'{"model": ',
        headers={"Authorization": f"Bearer {running_server.api_key}"},
    )  # fmt: skip
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 400
    assert json.load(caught.value)["error"]["code"] == "invalid_json"


def test_gateway_and_engine_series_are_there(running_server, client):
    ask(client, user="someone")
    kind, text = get(running_server, "/metrics")
    assert kind.startswith("text/plain")
    assert 'hallmark_engine_up{variant="a"} 1.0' in text
    assert running_server.checkpoints["b"] in text
    kind, text = get(running_server, "/metrics/engines/a")
    assert kind.startswith("text/plain")
    assert "vllm:num_requests_running" in text


def test_answers_given_side_by_side_do_not_mix(client):
    def one(number: int) -> tuple[str, str]:
        raw = ask(client, "support@a", temperature=0, stream=number % 2 == 0)
        if number % 2:
            return raw.headers["x-request-id"], raw.parse().choices[0].message.content
        pieces = [chunk.choices[0].delta.content or "" for chunk in raw.parse()]
        return raw.headers["x-request-id"], "".join(pieces)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(16)))
    assert len({request_id for request_id, _ in answers}) == 16
    assert len({text for _, text in answers}) == 1
