"""Erasure and retention in the ledger, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import pytest

from registry.checkpoint import DatasetRef
from registry.labels import Label, LabelTask
from registry.ledger import Ledger
from registry.live import LiveScore
from registry.records import digest_of
from registry.served import FeedbackRecord, user_digest
from tests.ledgers import NOON, manifest, request, thumb

ANA, BEN = user_digest("ana"), user_digest("ben")
SECRET = "my parcel 4711"


def vote(feedback_id: str, *ids: str, **changes: object) -> FeedbackRecord:
    ranking = tuple((one,) for one in ids)
    values = {"kind": "vote", "value": None, "metric": "arena", "ranking": ranking}
    return thumb(feedback_id, ids[0], **(values | changes))


def score(request_id: str) -> LiveScore:
    return LiveScore(
        request_id=request_id,
        scorer_digest=digest_of("scorer"),
        variant="a",
        checkpoint=digest_of("a"),
        scores={"toxicity": 0.1},
        scored_at=NOON,
    )


def label(request_id: str, who: str) -> Label:
    return Label(
        request_id=request_id, labeller_digest=who, label="bad", better="b", created_at=NOON
    )


@pytest.fixture
def peopled(ledger: Ledger) -> Ledger:
    """Ana asked twice, once known only by her experiment's unit; Ben asked once."""
    ledger.record_requests(
        [
            request("ana-1", user_digest=ANA, answer=SECRET),
            request("ana-2", unit_digest=digest_of("salt:ana")),
            request("copy", unit_digest=None, shadow_of="ana-2"),
            request("ben-1", user_digest=BEN),
        ]
    )
    for one in (
        thumb("on ana's", "ana-1"),
        thumb("by ana", "ben-1", user_digest=ANA),
        thumb("by ben", "ben-1", user_digest=BEN),
        thumb("early", "never-arrived", user_digest=ANA),
        vote("beside", "ben-1", "ana-2"),
        vote("of others", "ben-1", "someone"),
    ):
        ledger.record_feedback(one)
    ledger.queue_labels(
        [
            LabelTask(request_id=one, priority=0.5, reason="x", added_at=NOON)
            for one in ("ana-1", "ben-1")
        ]
    )
    for one in (label("ana-1", BEN), label("ben-1", ANA), label("ben-1", BEN)):
        ledger.record_label(one)
    ledger.record_live_scores([score("ana-1"), score("ben-1")])
    return ledger


def test_nothing_of_a_person_is_left_and_everything_of_others_is(peopled: Ledger) -> None:
    receipt = peopled.erase(ANA, [digest_of("salt:ana")], now=NOON)
    assert [one.request_id for one in peopled.requests()] == ["ben-1"]
    assert [one.feedback_id for one in peopled.feedback("ben-1")] == ["by ben", "of others"]
    assert peopled.feedback("never-arrived") == []
    assert [(one.request_id, one.labeller_digest) for one in peopled.labels()] == [("ben-1", BEN)]
    assert not peopled.is_label_task("ana-1")
    assert [one.request_id for one in peopled.live_scores()] == ["ben-1"]
    assert receipt.removed == {
        "feedback": 4, "label_tasks": 1, "labels": 2, "live_scores": 1, "requests": 3,
    }  # fmt: skip


def test_the_receipt_holds_counts_and_digests_and_stays(peopled: Ledger) -> None:
    receipt = peopled.erase(ANA, [digest_of("salt:ana")], now=NOON)
    text = receipt.model_dump_json()
    for word in ("ana-1", "ana-2", SECRET, '"ana"', "hello"):
        assert word not in text
    assert receipt.user_digest == ANA
    assert receipt.requests_digest == digest_of(["ana-1", "ana-2", "copy"])
    assert peopled.erasures() == [receipt]


def test_erasing_again_finds_nothing_and_says_so(peopled: Ledger) -> None:
    units = [digest_of("salt:ana")]
    peopled.erase(ANA, units, now=NOON)
    again = peopled.erase(ANA, units, now=NOON + timedelta(seconds=1))
    assert set(again.removed.values()) == {0}
    assert len(peopled.erasures()) == 2


def test_an_erasure_that_fails_removes_nothing(
    peopled: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise OSError("no receipt")

    with monkeypatch.context() as patch:
        patch.setattr("registry.erasure.digest_of", fail)
        with pytest.raises(OSError, match="no receipt"):
            peopled.erase(ANA, now=NOON)
    assert peopled.request("ana-1") is not None
    assert peopled.erasures() == []


def test_salts_are_those_of_every_version_of_every_experiment(ledger: Ledger) -> None:
    assert ledger.salts() == {""}
    ledger.record_experiment("spring", {"salt": "old", "variants": []})
    ledger.record_experiment("spring", {"salt": "new", "variants": []})
    ledger.record_experiment("bare", {})
    assert ledger.salts() == {"", "spring", "bare", "old", "new"}


def test_traces_lead_from_a_person_to_the_rows_of_each_dataset(peopled: Ledger) -> None:
    one, two = digest_of("one"), digest_of("two")
    peopled.record_dataset_rows(one, [("row-1", "ana-1"), ("row-2", "ben-1"), ("row-3", "ana-2")])
    peopled.record_dataset_rows(two, [("row-2", "ben-1")])
    traces = peopled.traces(ANA, [digest_of("salt:ana")])
    assert traces.request_ids == ("ana-1", "ana-2", "copy")
    assert traces.dataset_rows == {one: {"row-1", "row-3"}}
    assert peopled.traces(ANA).dataset_rows == {one: {"row-1"}}
    peopled.erase(ANA, [digest_of("salt:ana")], now=NOON)
    assert peopled.dataset_rows(one) == [("row-2", "ben-1")]


def test_checkpoints_that_saw_a_dataset_are_named_with_their_descendants(ledger: Ledger) -> None:
    seen = DatasetRef(name="feedback", digest=digest_of("tainted"))
    clean = DatasetRef(name="support", digest=digest_of("clean"))
    base = manifest("base", datasets=(clean,))
    tuned = manifest("tuned", datasets=(seen, clean), parent_digest=base.weights_digest)
    child = manifest("child", datasets=(clean,), parent_digest=tuned.weights_digest)
    grandchild = manifest("grandchild", datasets=(), parent_digest=child.weights_digest)
    for one in (grandchild, child, base, tuned):  # a child may be recorded first
        ledger.record_checkpoint(one, "/x")
    found = {one.name: one for one in ledger.tainted([seen.digest])}
    assert {name: one.inherited for name, one in found.items()} == {
        "tuned": False, "child": True, "grandchild": True,
    }  # fmt: skip
    assert found["grandchild"].datasets == (seen.digest,)
    assert ledger.tainted([digest_of("other")]) == []


def test_a_thousand_requests_of_one_person_are_erased(ledger: Ledger) -> None:
    ledger.record_requests([request(f"r{number:04}", user_digest=ANA) for number in range(1200)])
    assert ledger.erase(ANA, now=NOON).removed["requests"] == 1200


def test_texts_run_out_while_counts_and_thumbs_stay(ledger: Ledger) -> None:
    late = NOON + timedelta(days=40)
    ledger.record_requests([request("old"), request("new", started_at=late)])
    for one in (
        thumb("thumb", "old", text="so slow"),
        thumb("edit", "old", kind="edit", value=None, text="better"),
        thumb("comment", "new", kind="comment", value=None, text="thanks", created_at=late),
    ):
        ledger.record_feedback(one)
    ledger.queue_labels(
        [
            LabelTask(request_id=one, priority=0.5, reason="x", added_at=NOON)
            for one in ("old", "new")
        ]
    )
    ledger.record_label(label("old", ANA))
    before = NOON + timedelta(days=30)
    assert ledger.sweep(before) == {
        "conversations": 1, "edits and comments": 1, "remarks": 1, "better answers": 1,
        "label tasks": 1,
    }  # fmt: skip
    old, new = ledger.request("old"), ledger.request("new")
    assert old is not None
    assert new is not None
    assert (old.messages, old.answer, old.duration_ms) == (None, None, 80.25)
    assert new.answer == "hi"
    assert [(one.kind, one.text) for one in ledger.feedback("old")] == [("thumb", None)]
    assert [one.text for one in ledger.feedback("new")] == ["thanks"]
    assert [(one.label, one.better) for one in ledger.labels()] == [("bad", None)]
    assert (ledger.is_label_task("old"), ledger.is_label_task("new")) == (False, True)
    assert set(ledger.sweep(before).values()) == {0}
