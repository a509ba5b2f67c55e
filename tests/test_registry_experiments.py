"""Events of experiments, and the moments that a guardian reads, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from registry.experiments import ExperimentEvent, UnitMoments
from registry.ledger import Ledger, LedgerError
from registry.live import LiveScore
from tests.ledgers import NOON, request, thumb


def event(key: str, **changes: object) -> ExperimentEvent:
    fields = {"key": key, "experiment": "greeting", "kind": "start", "reason": "r", "at": NOON}
    return ExperimentEvent.model_validate(fields | changes)


def test_events_come_back_in_the_order_of_writing_with_all_that_they_hold(ledger: Ledger) -> None:
    first = event("1", at=NOON + timedelta(hours=1))
    second = event("2", kind="breach", variant="b", body={"low": 0.25, "metric": "errors"})
    for one in (first, second, event("3", experiment="other")):
        assert ledger.record_experiment_event(one)
    assert ledger.experiment_events("greeting") == [first, second]
    assert ledger.experiment_events("nothing") == []


def test_of_two_guardians_that_see_the_same_one_writes_it(ledger: Ledger) -> None:
    assert ledger.record_experiment_event(event("greeting/1/breach/b", reason="mine"))
    assert not ledger.record_experiment_event(event("greeting/1/breach/b", reason="yours"))
    assert [one.reason for one in ledger.experiment_events("greeting")] == ["mine"]


def test_moments_are_over_units_each_with_the_mean_of_its_own_requests(ledger: Ledger) -> None:
    rows = [
        request("1", unit_digest="ann", status=500),
        request("2", unit_digest="ann"),
        request("3", unit_digest="bob"),
        request("4", unit_digest="cid", variant="b", finish_reason="abort"),
    ]
    ledger.record_requests(rows)
    assert ledger.unit_moments("greeting", "errors", NOON) == [
        UnitMoments("a", 2, 0.5, 0.25),
        UnitMoments("b", 1, 1.0, 1.0),
    ]


def test_latency_is_that_of_answers_with_a_time(ledger: Ledger) -> None:
    ledger.record_requests(
        [
            request("1", unit_digest="ann", ttft_ms=10.0),
            request("2", unit_digest="bob", ttft_ms=None),
            request("3", unit_digest="cid", ttft_ms=99.0, status=499),
            request("4", unit_digest="dan", ttft_ms=20.0),
        ]
    )
    assert ledger.unit_moments("greeting", "ttft_ms", NOON) == [UnitMoments("a", 2, 30.0, 500.0)]


def test_what_analysis_leaves_out_the_guardian_leaves_out(ledger: Ledger) -> None:
    ledger.record_requests(
        [
            request("1", unit_digest=None),
            request("2", pinned=True),
            request("3", excluded="shadow", shadow_of="9"),
            request("4", started_at=NOON - timedelta(seconds=1)),
            request("5", experiment="other"),
        ]
    )
    assert ledger.unit_moments("greeting", "errors", NOON) == []


def test_a_changed_thumb_counts_as_it_is_now(ledger: Ledger) -> None:
    ledger.record_requests([request("1", unit_digest="ann"), request("2", unit_digest="bob")])
    for one in (
        thumb("f1", "1", value=-1),
        thumb("f2", "1", value=1, created_at=NOON + timedelta(hours=1)),
        thumb("f3", "2", value=-1),
    ):
        ledger.record_feedback(one)
    assert ledger.unit_moments("greeting", "thumbs_down", NOON) == [UnitMoments("a", 2, 1.0, 1.0)]


def test_a_scorer_s_score_is_a_guardrail_metric(ledger: Ledger) -> None:
    ledger.record_requests([request("1"), request("2", unit_digest="bob")])
    ledger.record_live_scores(
        [
            LiveScore(request_id="1", scorer_digest="s", variant="a", checkpoint="c",
                      scores={"toxicity": 0.5, "insult": 0.9}, scored_at=NOON)
        ]
    )  # fmt: skip
    found = ledger.unit_moments("greeting", "score:toxicity", NOON)
    assert found == [UnitMoments("a", 1, 0.5, 0.25)]


@pytest.mark.parametrize("metric", ["vibes", "score:", "rating"])
def test_a_metric_that_there_is_not_is_an_error_that_lists_those_there_are(
    ledger: Ledger, metric: str
) -> None:
    with pytest.raises(LedgerError, match=r"have completion_tokens, duration_ms, errors, score:"):
        ledger.unit_moments("greeting", metric, NOON)


def test_what_an_experiment_knows_of_a_request_is_kept(ledger: Ledger) -> None:
    row = request("1", propensity=0.25, segments={"plan": "paid"}, excluded="shadow", shadow_of="0")
    ledger.record_requests([row])
    assert ledger.request("1") == row
