"""Live scores, cursors and canaries in the ledger, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from registry.ledger import Ledger
from registry.live import LiveScore
from registry.records import digest_of
from tests.ledgers import NOON, request, thumb
from train.canaries import CanaryPlan, draw

SCORER = digest_of("scorer")


def scored(request_id: str, **changes: object) -> LiveScore:
    values = {
        "request_id": request_id, "scorer_digest": SCORER, "variant": "a",
        "checkpoint": digest_of("a"), "scores": {"toxicity": 0.25, "refusal": 0.0},
        "scored_at": NOON,
    }  # fmt: skip
    return LiveScore(**(values | changes))


def test_what_one_scorer_has_scored_another_has_not(ledger: Ledger) -> None:
    requests = [request(f"r{n}", started_at=NOON + timedelta(seconds=n)) for n in range(4)]
    ledger.record_requests(requests)
    assert ledger.record_live_scores([scored("r1"), scored("r3")]) == [scored("r1"), scored("r3")]
    found = ledger.unscored(SCORER, since=None, limit=10)
    assert [(each.request_id, each.started_at, each.variant) for each in found] == [
        ("r0", requests[0].started_at, "a"), ("r2", requests[2].started_at, "a"),
    ]  # fmt: skip
    assert ledger.answer_texts(["r0", "r2", "r9"]) == {"r0": "hi", "r2": "hi"}
    assert len(ledger.unscored(digest_of("other"), since=None, limit=10)) == 4
    assert ledger.live_scores_of("r1") == [scored("r1")]
    assert list(ledger.live_scores(digest_of("other"))) == []


def test_a_score_that_is_there_stays_and_only_new_ones_are_told(ledger: Ledger) -> None:
    ledger.record_live_scores([scored("r1")])
    later = scored("r1", scores={"toxicity": 1.0})
    assert ledger.record_live_scores([later, scored("r2")]) == [scored("r2")]
    assert list(ledger.live_scores()) == [scored("r1"), scored("r2")]


def test_unscored_answers_come_in_order_from_a_place_on(ledger: Ledger) -> None:
    ledger.record_requests([request(key, started_at=NOON) for key in ("b", "a", "c")])
    ledger.record_requests([request("late", started_at=NOON + timedelta(microseconds=1))])
    found = ledger.unscored(SCORER, since=NOON, after="a", limit=2)
    assert [each.request_id for each in found] == ["b", "c"]
    found = ledger.unscored(SCORER, since=NOON, after="c", limit=2)
    assert [each.request_id for each in found] == ["late"]


def test_answers_that_were_not_kept_or_failed_or_evaluate_are_no_live_answers(
    ledger: Ledger,
) -> None:
    ledger.record_requests(
        [
            request("kept"),
            request("bare", messages=None, answer=None),
            request("failed", status=503),
            request("pinned", pinned=True, experiment=None),
        ]
    )
    assert [each.request_id for each in ledger.unscored(SCORER, since=None, limit=9)] == ["kept"]


def test_a_cursor_is_where_it_was_moved_to(ledger: Ledger) -> None:
    assert ledger.cursor("live") is None
    ledger.move_cursor("live", NOON)
    ledger.move_cursor("live", NOON + timedelta(hours=1))
    assert ledger.cursor("live") == NOON + timedelta(hours=1)
    assert ledger.cursor("other") is None


def test_canaries_come_back_by_their_dataset(ledger: Ledger) -> None:
    canaries = draw(CanaryPlan(per_group=2, controls=1))
    ledger.record_canaries(digest_of("one"), canaries)
    assert ledger.canaries([digest_of("one"), digest_of("two")]) == list(canaries)
    assert ledger.canaries([]) == []


def test_feedback_of_one_answer_is_its_own_and_in_order(ledger: Ledger) -> None:
    said = [
        thumb("f2", "r1", created_at=NOON + timedelta(minutes=2)),
        thumb("f1", "r1"),
        thumb("f3", "r2"),
    ]
    for one in said:
        ledger.record_feedback(one)
    assert ledger.feedback("r1") == [said[1], said[0]]
    assert ledger.feedback("r9") == []
