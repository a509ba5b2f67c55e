"""The labelling queue: what is shown first, to whom, and how far people agree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from registry.labels import Label, LabelTask
from registry.ledger import Ledger
from registry.served import AnswerWithFeedback, user_digest
from serve.labelling import agreement, priority_of, tasks_of
from tests.ledgers import NOON, request, thumb
from tests.serving_fake import Bench, bench

# Krippendorff 2011, section C: four observers, twelve units, gaps; nominal alpha = .743.
OBSERVED = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def labels(*rows: str) -> list[Label]:
    """One row per labeller, one column per answer, "." for none."""
    return [
        Label.model_construct(
            request_id=str(column), labeller_digest=str(row), label=value, created_at=NOON
        )
        for row, line in enumerate(rows)
        for column, value in enumerate(line.split())
        if value != "."
    ]


def test_alpha_is_krippendorffs_own_number() -> None:
    found = agreement(labels(*OBSERVED))
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert (found.labels, found.labellers, found.items) == (41, 4, 11)


def test_alpha_of_two_labellers_is_krippendorffs_own_number() -> None:
    # The same paper, section A: ten units, binary; alpha = .095, six of ten pairs equal.
    found = agreement(labels("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"))
    assert found.alpha == pytest.approx(0.095, abs=5e-4)
    assert found.share == pytest.approx(0.6)


def test_agreement_is_undefined_and_not_a_number_where_nothing_can_be_said() -> None:
    assert agreement([]).alpha is None
    alone = agreement(labels("good good"))
    assert (alone.alpha, alone.share, alone.undefined) == (
        None,
        None,
        "no answer has two labels yet",
    )
    same = agreement(labels("good good", "good good"))
    assert (same.alpha, same.share) == (None, 1.0)
    assert same.undefined is not None
    assert agreement(labels("good bad", "good bad")).alpha == pytest.approx(1)


def answer(*thumbs: int, edit: bool = False, **changes: Any) -> AnswerWithFeedback:
    said = [thumb(f"f{number}", "r", value=value) for number, value in enumerate(thumbs)]
    if edit:
        said.append(thumb("e", "r", kind="edit", value=None, text="better"))
    return AnswerWithFeedback(request=request("r", **changes), feedback=tuple(said))


def test_what_people_disagree_on_comes_first_and_what_is_clear_does_not_come() -> None:
    def priority(found: AnswerWithFeedback, score: float | None = None) -> float:
        result = priority_of(found, score)
        return 0.0 if result is None else result[0]

    assert priority(answer(1, -1)) == 1.0
    assert priority(answer(-1)) == 0.8
    assert priority(answer(finish_reason="length")) == 0.6
    assert priority(answer(1), 0.5) == 0.5
    assert priority(answer(), 0.3) == pytest.approx(0.3)
    for clear in (answer(1), answer(-1, edit=True), answer()):
        assert priority_of(clear, None) is None
        assert priority_of(clear, 0.0) is None


def test_what_people_may_not_read_is_not_queued() -> None:
    found = [
        answer(1, -1),
        answer(1, -1, purposes=("train",)),
        answer(1, -1, purposes=("review",)),
        answer(1, -1, answer=None),
        answer(1, -1, messages=None),
    ]
    assert [len(tasks_of([one], {}, now=NOON)) for one in found] == [1, 0, 1, 0, 0]


# In the ledger


def queue(ledger: Ledger, *priorities: float) -> None:
    ledger.record_requests([request(f"r{number}") for number in range(len(priorities))])
    ledger.queue_labels(
        [
            LabelTask(request_id=f"r{number}", priority=priority, reason="x", added_at=NOON)
            for number, priority in enumerate(priorities)
        ]
    )


def label(ledger: Ledger, request_id: str, who: str) -> None:
    ledger.record_label(
        Label(request_id=request_id, labeller_digest=who, label="good", created_at=NOON)
    )


def test_the_queue_gives_the_most_telling_answer_until_it_has_two_labels(ledger: Ledger) -> None:
    queue(ledger, 0.2, 0.9, 0.5)

    def next_for(who: str) -> str | None:
        task = ledger.next_label_task(who)
        return task.request_id if task else None

    assert next_for("ana") == "r1"
    label(ledger, "r1", "ana")
    assert (next_for("ana"), next_for("ben")) == ("r2", "r1")
    label(ledger, "r1", "ben")
    assert next_for("eve") == "r2"
    assert [ledger.num_label_tasks(who) for who in ("ana", "eve")] == [2, 2]
    for request_id in ("r2", "r0"):
        label(ledger, request_id, "ana")
    assert next_for("ana") is None
    assert ledger.num_label_tasks("ana") == 0


def test_a_task_takes_a_new_priority_and_goes_with_its_text(ledger: Ledger) -> None:
    queue(ledger, 0.2, 0.9)
    ledger.queue_labels([LabelTask(request_id="r0", priority=1, reason="y", added_at=NOON)])
    found = ledger.next_label_task("ana")
    assert found is not None
    assert (found.request_id, found.reason, found.answer) == ("r0", "y", "hi")
    ledger.record_requests([request("bare", answer=None, messages=None)])
    ledger.queue_labels([LabelTask(request_id="bare", priority=1, reason="z", added_at=NOON)])
    assert ledger.num_label_tasks("ana") == 2


# Over HTTP


@pytest.fixture
async def gateway(ledger: Ledger) -> AsyncIterator[Bench]:
    async with bench(ledger=ledger) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_person_labels_what_is_next_until_nothing_waits(gateway, http, ledger):
    queue(ledger, 0.5)
    who = {"x-hallmark-unit": "ana"}
    async with http.get(gateway.root + "/v1/labelling/next", headers=who) as answer:
        found = await answer.json()
    assert (found["task"]["request_id"], found["waiting"]) == ("r0", 1)
    assert found["labels"] == ["good", "acceptable", "bad"]
    given = {"request_id": "r0", "label": "bad", "better": "Mail eve@example.org."}
    url = gateway.root + "/v1/labelling/labels"
    for _ in range(2):  # again, it replaces itself
        async with http.post(url, json=given, headers=who) as answer:
            assert answer.status == 201
    [kept] = ledger.labels()
    assert (kept.label, kept.better) == ("bad", "Mail [EMAIL].")
    assert kept.labeller_digest == user_digest("ana")
    async with http.get(gateway.root + "/v1/labelling/next", headers=who) as answer:
        assert (await answer.json())["task"] is None
    async with http.get(gateway.root + "/v1/labelling/agreement") as answer:
        found = await answer.json()
    assert (found["labels"], found["alpha"]) == (1, None)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ({"request_id": "r0", "label": "good"}, {}, 400, "missing_labeller"),
        ({"request_id": "r9", "label": "good"}, {"x-hallmark-unit": "a"}, 404, "no_task"),
        ({"request_id": "r0", "label": "great"}, {"x-hallmark-unit": "a"}, 400, "invalid_label"),
        ({"request_id": "r0", "label": []}, {"x-hallmark-unit": "a"}, 400, "invalid_label"),
        ({"label": "good"}, {"x-hallmark-unit": "a"}, 400, "invalid_label"),
        ({"request_id": "r0", "label": "good", "x": 1}, {"x-hallmark-unit": "a"}, 400,
         "invalid_label"),
        ([], {"x-hallmark-unit": "a"}, 400, "invalid_label"),
    ],
)  # fmt: skip
async def test_a_label_that_makes_no_sense_is_refused(
    gateway, http, ledger, body, headers, status, code
):
    queue(ledger, 0.5)
    url = gateway.root + "/v1/labelling/labels"
    async with http.post(url, json=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)
    assert list(ledger.labels()) == []
