"""Live scores: the same as offline on the same answers, each answer once, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.completions import measured
from audit.live import LATE, LiveSettings, by_arm, is_sampled, live_digest, score_new
from audit.toxicity import open_scorer
from registry.conversation import Conversation, Message
from registry.ledger import Ledger
from registry.live import LiveScore
from registry.records import digest_of
from registry.served import RequestRecord
from tests.ledgers import NOON, request

ALL = LiveSettings(share=1.0)
ANSWERS = (
    "Your parcel arrives on Tuesday.",
    "You are a stupid idiot and nobody likes you.",
    "I'm sorry, I can't help with that request.",
    "We have refunded 20 euro to your card.",
    "What a disgusting moron. Shut up, idiot!",
    "Thank you, and have a nice day.",
)


class CountingScorer:
    """Toxicity .9 where the text says ``rude``; remembers each text that it scored."""

    name = "counting"
    digest = "sha256:" + "4" * 64

    def __init__(self) -> None:
        self.scored: list[str] = []

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.scored += texts
        return [{"toxicity": 0.9 if "rude" in text else 0.1} for text in texts]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def now() -> datetime:
    return datetime.now(UTC)


def served(number: int, answer: str | None = "fine", **changes: object) -> RequestRecord:
    values = {"answer": answer, "started_at": NOON + timedelta(seconds=number)}
    return request(f"r{number:04d}", **(values | changes))


def test_live_scores_equal_offline_scores_on_the_same_answers(ledger: Ledger) -> None:
    scorer = open_scorer()
    ledger.record_requests([served(n, answer) for n, answer in enumerate(ANSWERS)])
    assert score_new(ledger, scorer, ALL, now) == len(ANSWERS)
    live = list(ledger.live_scores(live_digest(scorer)))
    prompts = [
        Conversation(
            id=one.request_id,
            messages=(Message(role="user", content="hello"),),
            source="test",
            licence="CC0-1.0",
        )
        for one in live
    ]
    offline = measured(prompts, ANSWERS, scorer, threshold=ALL.threshold)
    assert [item.key for item in offline.items] == [one.request_id for one in live]
    assert [item.value for item in offline.items] == [
        float(one.scores["toxicity"] >= ALL.threshold) for one in live
    ]
    (arm,) = by_arm(live, threshold=ALL.threshold)
    assert arm["toxic"] == sum(item.value or 0 for item in offline.items) == 2
    assert arm["mean_toxicity"] == pytest.approx(offline.summary["mean_toxicity"], abs=1e-9)
    direct = scorer.score(ANSWERS)
    for one, classes in zip(live, direct, strict=True):
        assert {name: one.scores[name] for name in classes} == pytest.approx(classes, abs=1e-9)
    assert [one.scores["refusal"] for one in live] == [0, 0, 1, 0, 0, 0]


def test_only_stored_answers_of_users_are_scored(ledger: Ledger) -> None:
    ledger.record_requests(
        [
            served(1),
            served(2, None, messages=None),  # conversation not stored
            served(3, pinned=True, experiment=None),  # evaluation traffic
            served(4, status=503),
        ]
    )
    assert score_new(ledger, CountingScorer(), ALL, now) == 1
    assert [one.request_id for one in ledger.live_scores()] == ["r0001"]


def test_a_second_round_scores_nothing_again_and_what_is_new_once(ledger: Ledger) -> None:
    scorer = CountingScorer()
    ledger.record_requests([served(n, f"answer {n}") for n in range(5)])
    assert score_new(ledger, scorer, ALL, now) == 5
    assert score_new(ledger, scorer, ALL, now) == 0
    ledger.record_requests([served(9, "answer 9")])
    assert score_new(ledger, scorer, ALL, now) == 1
    assert sorted(scorer.scored) == sorted(f"answer {n}" for n in (0, 1, 2, 3, 4, 9))


def test_an_answer_that_took_long_is_found_behind_the_cursor(ledger: Ledger) -> None:
    scorer = CountingScorer()
    ledger.record_requests([served(700)])
    score_new(ledger, scorer, ALL, now)
    ledger.record_requests([served(10, "it began earlier and ended later")])
    assert score_new(ledger, scorer, ALL, now) == 1
    too_late = served(0, started_at=NOON - 2 * LATE)
    ledger.record_requests([too_late])
    assert score_new(ledger, scorer, ALL, now) == 0


def test_a_process_that_dies_between_batches_goes_on_where_it_was(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.live.BATCH_ANSWERS", 4)
    ledger.record_requests([served(n, f"answer {n}") for n in range(20)])
    scorer = CountingScorer()

    def die(scores: Sequence[LiveScore]) -> None:
        if len(scorer.scored) > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_new(ledger, scorer, ALL, now, die)
    assert score_new(ledger, scorer, ALL, now) == 8  # three batches of four were kept
    assert len(scorer.scored) == len(set(scorer.scored)) == 20
    assert len(list(ledger.live_scores())) == 20


def test_answers_of_the_very_same_instant_fall_out_of_no_batch(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.live.BATCH_ANSWERS", 3)
    ledger.record_requests([served(n, started_at=NOON) for n in range(10)])
    assert score_new(ledger, CountingScorer(), ALL, now) == 10


def test_two_watchers_at_once_count_each_answer_once(ledger: Ledger) -> None:
    ledger.record_requests([served(n) for n in range(6)])
    one = CountingScorer()
    heard: list[LiveScore] = []

    def other_was_quicker(scores: Sequence[LiveScore]) -> None:
        heard.extend(scores)

    batch = ledger.unscored(live_digest(one), since=None, limit=10)
    assert score_new(ledger, one, ALL, now, other_was_quicker) == 6
    late = [
        LiveScore(
            request_id=record.request_id, scorer_digest=live_digest(one), variant="a",
            checkpoint=digest_of("a"), scores={"toxicity": 1.0}, scored_at=now(),
        )
        for record in batch
    ]  # fmt: skip
    assert ledger.record_live_scores(late) == []
    assert {score.scores["toxicity"] for score in ledger.live_scores()} == {0.1}
    assert len(heard) == 6


def test_a_share_is_chosen_by_the_request_and_a_larger_one_holds_the_smaller() -> None:
    ids = [f"request-{n}" for n in range(4000)]
    tenth = {each for each in ids if is_sampled(each, share=0.1, seed=0)}
    half = {each for each in ids if is_sampled(each, share=0.5, seed=0)}
    assert 320 < len(tenth) < 480  # 400, standard deviation 19
    assert tenth < half
    assert tenth != {each for each in ids if is_sampled(each, share=0.1, seed=1)}
    assert all(is_sampled(each, share=1.0, seed=0) for each in ids)


def test_arms_are_told_apart_by_variant_and_checkpoint(ledger: Ledger) -> None:
    ledger.record_requests(
        [
            served(1, "rude", variant="a"),
            served(2, "fine", variant="a"),
            served(3, "rude", variant="b", checkpoint=digest_of("b")),
        ]
    )
    score_new(ledger, CountingScorer(), ALL, now)
    arms = by_arm(ledger.live_scores(), threshold=0.9)
    assert [(arm["variant"], arm["answers"], arm["toxic_share"]) for arm in arms] == [
        ("a", 2, 0.5), ("b", 1, 1.0),
    ]  # fmt: skip
    # Clopper-Pearson, 1 of 2: [.0126, .9874]; 1 of 1: [.025, 1]
    assert arms[0]["toxic_interval"] == pytest.approx((0.012579, 0.987421), abs=1e-6)
    assert arms[1]["toxic_interval"] == pytest.approx((0.025, 1.0))
    assert by_arm([], threshold=0.5) == []
