"""Feedback of all kinds over HTTP, into a ledger on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy.exc import OperationalError

from registry.ledger import Ledger
from registry.served import FeedbackRecord, user_digest
from serve.feedback_kinds import METRICS, Metric, MetricError, Metrics, load_metrics
from serve.settings import ServingPlan, VariantPlan, settings_from_environment
from tests.ledgers import request as record_of
from tests.serving_fake import Bench, bench


@pytest.fixture
async def gateway(ledger: Ledger) -> AsyncIterator[Bench]:
    async with bench(ledger=ledger, store_conversations=True) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def say(
    http: aiohttp.ClientSession, gateway: Bench, body: Any, **headers: str
) -> tuple[int, dict[str, Any]]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.post(gateway.root + "/v1/feedback", json=body, headers=sent) as answer:
        return answer.status, await answer.json()


def stored(ledger: Ledger, answer: dict[str, Any]) -> FeedbackRecord:
    found = ledger.feedback_by_id(answer["feedback_id"])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"kind": "thumb", "value": 1}, {"metric": "thumb", "value": 1}),
        ({"metric": "rating", "value": 4}, {"kind": "rating", "value": 4}),
        ({"kind": "score", "value": 0.25, "text": "so so"}, {"value": 0.25, "text": "so so"}),
        ({"kind": "category", "label": "unsafe"}, {"metric": "problem", "label": "unsafe"}),
        ({"metric": "edit", "text": "Call jane@example.org."}, {"text": "Call [EMAIL]."}),
        ({"kind": "comment", "text": "quick"}, {"metric": "comment", "text": "quick"}),
        ({"kind": "vote", "ranking": ["r", "s"]}, {"ranking": (("r",), ("s",))}),
        (
            {"metric": "arena", "ranking": [["r", "s"]], "label": "both_bad"},
            {"kind": "vote", "ranking": (("r", "s"),), "label": "both_bad"},
        ),
        (
            {"kind": "ranking", "ranking": ["r", ["s", "t"], "u"]},
            {"ranking": (("r",), ("s", "t"), ("u",))},
        ),
    ],
)
async def test_every_kind_is_kept_as_it_was_said(gateway, http, ledger, body, kept):
    status, answer = await say(http, gateway, {"request_id": "r", **body})
    assert (status, answer["recorded"]) == (201, True)
    found = stored(ledger, answer)
    assert {name: getattr(found, name) for name in kept} == kept
    assert (found.request_id, found.source) == ("r", "api")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"metric": "tone", "value": 1}, "no metric named 'tone'; have arena, comment, edit"),
        ({"metric": "score", "value": 1.5}, "score: the value is a number from 0 to 1"),
        ({"metric": "score", "value": "high"}, "value: Input should be a valid number"),
        ({"metric": "problem", "label": "boring"}, "problem: no label named 'boring'; have inc"),
        ({"metric": "problem", "kind": "thumb", "value": 1}, "takes feedback of kind category"),
        ({"kind": "thumb", "value": 1, "label": "wrong"}, "feedback of kind thumb has no label"),
        ({"kind": "vote"}, "a vote needs a ranking of two request ids"),
        ({"kind": "vote", "ranking": ["r", "s", "t"]}, "a vote needs a ranking of two"),
        ({"kind": "vote", "ranking": ["r", "r"]}, "a vote's request ids must differ"),
        ({"kind": "vote", "ranking": ["s", "r"]}, "request_id is the first of its ranking"),
        ({"kind": "vote", "ranking": ["r", "s"], "label": "meh"}, "vote: no label named 'meh'"),
        ({"kind": "ranking", "ranking": ["r", []]}, "a ranking needs a ranking of 2 to 32"),
        ({"kind": "ranking", "ranking": ["r", "s", []]}, "have 1 to 128 characters"),
        ({"kind": "thumb", "value": 1, "source": "link"}, "source: Extra inputs are not"),
        ({"kind": "thumb", "value": 1, "user_digest": "x"}, "user_digest: Extra inputs"),
        ({"kind": "score", "value": float("inf")}, "value: Input should be a finite number"),
    ],
)
async def test_what_does_not_fit_its_metric_is_400_and_says_why(gateway, http, body, complaint):
    status, answer = await say(http, gateway, {"request_id": "r", **body})
    assert (status, answer["error"]["code"]) == (400, "invalid_feedback")
    assert complaint in answer["error"]["message"]


async def test_the_metrics_are_listed_with_their_schemas(gateway, http):
    async with http.get(gateway.root + "/v1/feedback/metrics") as answer:
        rows = {row["name"]: row for row in (await answer.json())["data"]}
    assert rows.keys() == {metric.name for metric in METRICS}
    assert rows["score"] == {
        "name": "score", "kind": "score", "low": 0, "high": 1, "describes": "1 best",
    }  # fmt: skip
    assert rows["problem"]["labels"][0] == "wrong"


async def test_an_idempotency_key_makes_a_repeat_harmless_and_another_body_is_422(
    gateway, http, ledger
):
    body = {"request_id": "r", "kind": "edit", "text": "odd \0 \ud83d"}
    first, answer = await say(http, gateway, body, Idempotency_Key="one")
    again, repeated = await say(http, gateway, body, Idempotency_Key="one")
    assert (first, again) == (201, 200)
    assert repeated["feedback_id"] == answer["feedback_id"]
    status, refused = await say(http, gateway, {**body, "text": "new"}, Idempotency_Key="one")
    assert (status, refused["error"]["code"]) == (422, "idempotency_key_reused")
    assert stored(ledger, answer).text == "odd \ufffd \ufffd"
    assert (await say(http, gateway, body, Idempotency_Key="two"))[0] == 201
    assert len(ledger.feedback("r")) == 2


async def test_a_feedback_id_that_was_used_for_other_feedback_is_422(gateway, http, ledger):
    body = {"request_id": "r", "kind": "thumb", "feedback_id": "mine"}
    assert (await say(http, gateway, {**body, "value": 1}))[0] == 201
    assert (await say(http, gateway, {**body, "value": 1}))[0] == 200
    assert (await say(http, gateway, {**body, "value": -1}))[0] == 422
    assert [one.value for one in ledger.feedback("r")] == [1]


async def test_feedback_comes_before_its_record_and_is_joined_later(gateway, http, ledger):
    status, answer = await say(http, gateway, {"request_id": "late", "kind": "thumb", "value": -1})
    assert (status, answer["variant"]) == (201, None)
    assert list(ledger.answers_with_feedback()) == []
    ledger.record_requests([record_of("late")])
    [joined] = ledger.answers_with_feedback()
    assert [one.feedback_id for one in joined.feedback] == [answer["feedback_id"]]


async def test_who_spoke_is_kept_by_a_digest_alone(gateway, http, ledger):
    body = {"request_id": "r", "kind": "thumb", "value": 1}
    _, answer = await say(http, gateway, body, x_hallmark_unit="customer-4711")
    found = stored(ledger, answer)
    assert found.user_digest == user_digest("customer-4711")
    assert "4711" not in found.model_dump_json().replace(found.user_digest or "", "")


async def test_a_conversation_is_kept_with_what_its_person_agreed_to(gateway, http, ledger):
    chat = {"model": "support", "messages": [{"role": "user", "content": "hi"}]}
    cases = [
        ({}, {}, None, True),
        ({"x-hallmark-consent": "review, train"}, {}, ("train", "review"), True),
        ({"x-hallmark-consent": "none"}, {}, (), False),
        ({}, {"metadata": {"consent": "evaluate"}}, ("evaluate",), True),
        ({}, {"store": False}, (), False),
        ({"x-hallmark-consent": "train"}, {"metadata": {"consent": "none"}}, ("train",), True),
    ]
    for headers, fields, purposes, kept in cases:
        url = gateway.root + "/v1/chat/completions"
        said = {"x-hallmark-unit": "ana", **headers}
        async with http.post(url, json={**chat, **fields}, headers=said) as answer:
            assert answer.status == 200
            request_id = answer.headers["x-request-id"]
        for _ in range(200):
            if (found := ledger.request(request_id)) is not None:
                break
            await asyncio.sleep(0.02)
        assert found is not None
        assert (found.purposes, found.user_digest) == (purposes, user_digest("ana"))
        assert (found.messages is not None, found.answer is not None) == (kept, kept)


async def test_where_consent_is_required_silence_keeps_nothing(http):
    chat = {"model": "support", "messages": [{"role": "user", "content": "hi"}]}
    async with bench(store_conversations=True, require_consent=True) as gateway:
        for headers, kept in (({}, False), ({"x-hallmark-consent": "train"}, True)):
            url = gateway.root + "/v1/chat/completions"
            async with http.post(url, json=chat, headers=headers) as answer:
                found = await gateway.row(answer.headers["x-request-id"])
            assert (found.messages is not None) == kept


async def test_consent_that_cannot_be_read_is_refused_and_not_guessed(gateway, http):
    chat = {"model": "support", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-hallmark-consent": "yes"}
    url = gateway.root + "/v1/chat/completions"
    async with http.post(url, json=chat, headers=headers) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (400, "invalid_consent")
    assert "send none, or some of train, evaluate, review" in error["message"]


async def test_feedback_that_the_ledger_does_not_take_is_never_acknowledged(http):
    async with bench() as gateway:

        def broken(record: FeedbackRecord, /) -> bool:
            raise OperationalError("INSERT", {}, Exception("database is locked"))

        gateway.ledger.record_feedback = broken  # type: ignore[method-assign]  # a fault
        body = json.dumps({"request_id": "r", "kind": "thumb", "value": 1})
        async with http.post(gateway.root + "/v1/feedback", data=body) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
            assert "same feedback_id or Idempotency-Key" in await answer.text()
        labels = {"variant": "unknown", "kind": "thumb", "sentiment": "positive"}
        assert gateway.value("hallmark_feedback_total", **labels) == 0


# Metrics of one's own


@pytest.fixture
def metrics_file(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.yaml"
    path.write_text(
        "- {name: politeness, kind: score, low: 0, high: 10, describes: 10 is most polite}\n"
        "- {name: topic, kind: category, labels: [billing, delivery], describes: what about}\n"
    )
    return path


def test_metrics_come_from_the_file_that_the_environment_names(metrics_file, tmp_path):
    plan = ServingPlan(model_name="m", variants=(VariantPlan(name="a", checkpoint=Path("a")),))
    environ = {"HALLMARK_FEEDBACK_METRICS": str(metrics_file)}
    settings = settings_from_environment(environ, plan=plan, home=tmp_path)
    assert [one.name for one in settings.feedback_metrics] == ["politeness", "topic"]
    assert Metrics(settings.feedback_metrics).named("politeness").high == 10


async def test_a_metric_of_ones_own_is_checked_like_the_others(metrics_file, http):
    async with bench(feedback_metrics=load_metrics(metrics_file)) as gateway:
        body = {"request_id": "r", "metric": "politeness"}
        assert (await say(http, gateway, {**body, "value": 10}))[0] == 201
        status, answer = await say(http, gateway, {**body, "value": 10.5})
    assert status == 400
    assert "politeness: the value is a number from 0 to 10" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("- {name: x, kind: score, describes: y}", "row 1: Value error, score x needs low and hi"),
        ("- {name: x, kind: category, labels: [a], describes: y}", "needs at least two labels"),
        ("- {name: x, kind: thumb, low: 0, describes: y}", "only a score has low and high"),
        ("- {name: thumb, kind: thumb, describes: y}", "two metrics named thumb; rename one"),
        ("- {name: X, kind: thumb, describes: y}", "row 1: name: String should match pattern"),
        ("name: x", "write a list of metrics"),
        ("- [", "cannot be read"),
    ],
)
def test_a_metric_that_makes_no_sense_is_refused_with_its_row(tmp_path, row, complaint):
    path = tmp_path / "metrics.yaml"
    path.write_text(row + "\n")
    with pytest.raises(MetricError, match="metric") as caught:
        load_metrics(path)
    assert complaint in str(caught.value)


def test_a_metrics_bounds_belong_to_it():
    metric = Metric(name="m", kind="score", low=-1, high=1, describes="x")
    for value, fits in ((-1, True), (1, True), (1.0001, False)):
        record = FeedbackRecord.model_validate(
            {"feedback_id": "f", "request_id": "r", "kind": "score", "value": value,
             "created_at": "2026-03-01T12:00:00Z"}
        )  # fmt: skip
        if fits:
            metric.check(record)
        else:
            with pytest.raises(MetricError, match="a number from -1 to 1"):
                metric.check(record)
