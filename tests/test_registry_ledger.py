"""The ledger on SQLite and on a real PostgreSQL: what goes in comes out, from many threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry.conversation import Message
from registry.dataset import DatasetFile, DatasetManifest
from registry.evidence import Evidence, Item, ModelFacts
from registry.ledger import Ledger, LedgerError
from registry.records import digest_of
from registry.verdict import Status, Verdict
from tests.ledgers import NOON, manifest, record, request, thumb

ROOT = Path(__file__).resolve().parent.parent


# Checkpoints and datasets


def test_a_checkpoint_comes_back_with_its_manifest(ledger: Ledger) -> None:
    small = manifest("small", parent_digest=digest_of("parent"))
    ledger.record_checkpoint(small, "s3://bucket/small")
    [row] = ledger.checkpoints()
    assert (row.digest, row.name, row.uri, row.stage, row.parent_digest, row.created_at) == (
        small.weights_digest,
        "small",
        "s3://bucket/small",
        "sft",
        digest_of("parent"),
        NOON,
    )
    assert ledger.manifest(small.weights_digest) == small


def test_a_checkpoint_recorded_again_is_found_at_its_new_address(ledger: Ledger) -> None:
    small = manifest("small")
    ledger.record_checkpoint(small, "/old")
    ledger.record_checkpoint(small, "/new")
    assert [row.uri for row in ledger.checkpoints()] == ["/new"]


def test_a_reference_is_an_alias_a_name_or_a_digest(ledger: Ledger) -> None:
    first, second = (
        manifest("small", "one"),
        manifest("small", "two", created_at=NOON + timedelta(hours=1)),
    )
    for one in (first, second):
        ledger.record_checkpoint(one, "/x")
    ledger.set_alias("champion", first.weights_digest, by="me", reason="best")
    digest = first.weights_digest
    assert ledger.resolve("champion").digest == digest
    assert ledger.resolve("small").digest == second.weights_digest
    for ref in (digest, digest.removeprefix("sha256:"), digest[:15], digest[7:15]):
        assert ledger.resolve(ref).digest == digest


@pytest.mark.parametrize("ref", ["nobody", "sha256:0000000", "0000000", "00000000", "%", "small_"])
def test_an_unknown_reference_lists_what_there_is(ledger: Ledger, ref: str) -> None:
    [digest] = record(ledger, "small")
    ledger.set_alias("champion", digest, by="me", reason="best")
    with pytest.raises(LedgerError) as caught:
        ledger.resolve(ref)
    assert str(caught.value) == (
        f"no checkpoint named {ref!r}; have champion, small ({digest[7:19]}); give an alias, "
        "a name or at least 8 digits of a digest"
    )


def test_a_prefix_of_two_digests_is_refused_and_both_are_named(ledger: Ledger) -> None:
    digests = ["sha256:" + "a" * 63 + end for end in "01"]
    for digest in digests:
        ledger.record_checkpoint(manifest("x").model_copy(update={"weights_digest": digest}), "/x")
    with pytest.raises(LedgerError, match=r"fits 2 checkpoints: sha256:a+0, sha256:a+1; give more"):
        ledger.resolve("a" * 8)


def test_ancestry_follows_parents_as_far_as_they_are_known(ledger: Ledger) -> None:
    base = manifest("base", parent_digest=digest_of("never recorded"))
    tuned = manifest("tuned", parent_digest=base.weights_digest)
    for one in (base, tuned):
        ledger.record_checkpoint(one, "/x")
    assert [row.name for row in ledger.ancestry(tuned.weights_digest)] == ["tuned", "base"]


def test_a_dataset_is_found_by_name_and_digest(ledger: Ledger) -> None:
    def dataset(digest: str, at: datetime) -> DatasetManifest:
        file = DatasetFile(sha256="0" * 64, size_bytes=3, rows=2)
        return DatasetManifest(
            name="support",
            digest=digest,
            licence="CC0-1.0",
            source="a test",
            files={"train.jsonl": file, "test.jsonl": file},
            recipe={},
            created_at=at,
        )

    old, new = digest_of("old"), digest_of("new")
    ledger.record_dataset(dataset(old, NOON), "/datasets/old")
    ledger.record_dataset(dataset(new, NOON + timedelta(hours=1)), Path("/datasets/new"))
    assert ledger.dataset("support").uri == "/datasets/new"
    assert ledger.dataset(old[7:19]).uri == "/datasets/old"
    assert ledger.dataset(old).num_rows == 4
    assert [row.digest for row in ledger.datasets()] == [new, old]
    with pytest.raises(LedgerError, match=r"no dataset named 'books'; have support \("):
        ledger.dataset("books")


# Evidence and verdicts


def test_evidence_is_indexed_once_per_check_configuration_and_weights(ledger: Ledger) -> None:
    evidence = Evidence(
        check="bits_per_byte",
        config={"limit": 3},
        config_digest=digest_of("config"),
        facts=ModelFacts(
            weights_digest=digest_of("a"),
            backend="torch",
            dtype="float32",
            context_length=512,
            chat_template_digest=digest_of("template"),
        ),
        items=(Item(key="1", content_hash=digest_of("text"), value=1.5),),
        seconds=0.1,
        created_at=NOON,
    )
    ledger.index_evidence(evidence, "/evidence/old.json")
    ledger.index_evidence(evidence, Path("/evidence/new.json"))
    [row] = ledger.evidence(digest_of("a"))
    assert (row.check, row.digest, row.path) == (
        "bits_per_byte",
        evidence.digest,
        "/evidence/new.json",
    )


def test_a_verdict_is_recorded_once_and_later_gets_its_hallmark(
    ledger: Ledger, passing_verdict: Callable[..., Verdict]
) -> None:
    candidate = digest_of("a")
    failed, passed = passing_verdict(candidate, Status.FAIL), passing_verdict(candidate)
    first = ledger.record_verdict(failed, None)
    second = ledger.record_verdict(passed, None)
    assert ledger.record_verdict(passed, digest_of("envelope")) == second != first
    assert ledger.record_verdict(passed, None) == second
    rows = ledger.verdicts(candidate)
    assert [(row.id, row.verdict, row.envelope_digest) for row in rows] == [
        (first, failed, None),
        (second, passed, digest_of("envelope")),
    ]
    assert rows[-1].verdict.digest == passed.digest


def test_the_last_verdict_is_the_newest_so_that_a_later_failure_holds(
    ledger: Ledger, passing_verdict: Callable[..., Verdict]
) -> None:
    candidate = digest_of("a")
    ledger.record_verdict(passing_verdict(candidate), digest_of("envelope"))
    ledger.record_verdict(passing_verdict(candidate, Status.FAIL), None)
    assert ledger.verdicts(candidate)[-1].verdict.status is Status.FAIL


# Aliases


def test_an_alias_keeps_who_moved_it_and_why(ledger: Ledger) -> None:
    one, two = record(ledger, "one", "two")
    assert ledger.alias("champion") is None
    ledger.set_alias("champion", one, by="ana", reason="first")
    ledger.set_alias("champion", two, by="ben", reason="better answers")
    ledger.set_alias("champion", two, by="ben", reason="pressed twice")
    ledger.set_alias("challenger", one, by="ana", reason="to compare")
    assert ledger.aliases() == {"challenger": one, "champion": two}
    assert [
        (change.digest, change.kind, change.by, change.reason)
        for change in ledger.alias_history("champion")
    ] == [(one, "set", "ana", "first"), (two, "set", "ben", "better answers")]
    assert ledger.alias_history("champion")[0].at.tzinfo is UTC


def test_rollback_goes_back_and_is_itself_history(ledger: Ledger) -> None:
    one, two = record(ledger, "one", "two")
    ledger.set_alias("champion", one, by="ana", reason="first")
    ledger.set_alias("champion", two, by="ben", reason="better")
    assert ledger.rollback("champion", by="ops", reason="worse after all") == one
    assert ledger.alias("champion") == one
    last = ledger.alias_history("champion")[-1]
    assert (last.digest, last.kind, last.by, last.reason) == (
        one,
        "rollback",
        "ops",
        "worse after all",
    )


def test_a_second_rollback_goes_further_back_and_never_to_what_was_rolled_back(
    ledger: Ledger,
) -> None:
    one, two, three, four = record(ledger, "one", "two", "three", "four")
    for digest in (one, two, three):
        ledger.set_alias("champion", digest, by="ana", reason="better")
    assert ledger.rollback("champion", by="ops", reason="bad") == two
    assert ledger.rollback("champion", by="ops", reason="bad too") == one
    ledger.set_alias("champion", four, by="ana", reason="mended")
    assert ledger.rollback("champion", by="ops", reason="no") == one
    with pytest.raises(LedgerError, match=r"only ever pointed to .* nothing to roll back to"):
        ledger.rollback("champion", by="ops", reason="again")
    assert ledger.alias("champion") == one


def test_an_alias_that_was_never_set_cannot_be_rolled_back(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="the alias 'champion' was never set"):
        ledger.rollback("champion", by="ops", reason="panic")


def test_an_alias_points_only_to_recorded_checkpoints_and_has_a_plain_name(
    ledger: Ledger,
) -> None:
    [one] = record(ledger, "one")
    with pytest.raises(LedgerError, match="no checkpoint named 'sha256:"):
        ledger.set_alias("champion", digest_of("unknown"), by="me", reason="x")
    for name in ("", "the champion", "9", "a/b"):
        with pytest.raises(LedgerError, match="is no name for an alias"):
            ledger.set_alias(name, one, by="me", reason="x")
    assert ledger.aliases() == {}


def test_rollbacks_from_several_threads_each_go_one_back(ledger: Ledger) -> None:
    digests = record(ledger, *(f"c{number}" for number in range(9)))
    for digest in digests:
        ledger.set_alias("champion", digest, by="ana", reason="better")
    with ThreadPoolExecutor(4) as pool:
        back = list(
            pool.map(lambda _: ledger.rollback("champion", by="ops", reason="bad"), range(8))
        )
    assert sorted(back) == sorted(digests[:8])
    assert ledger.alias("champion") == digests[0]


def test_a_revocation_keeps_its_first_reason_and_stays(ledger: Ledger) -> None:
    assert ledger.revoked() == frozenset()
    ledger.revoke(digest_of("envelope"), "leaked key")
    ledger.revoke(digest_of("envelope"), "again")
    assert ledger.revoked() == {digest_of("envelope")}


# Experiments, answers and feedback


def test_an_experiment_is_known_by_its_newest_version(ledger: Ledger) -> None:
    assert ledger.experiment("greeting") is None
    ledger.record_experiment("greeting", {"salt": "x", "weights": {"b": 0.5, "a": 0.5}})
    ledger.record_experiment("greeting", {"salt": "x", "weights": {"b": 0.5, "a": 0.5}})
    ledger.record_experiment("closing", {})
    ledger.record_experiment("greeting", {"salt": "y"})
    assert ledger.experiment("greeting") == {"salt": "y"}
    assert ledger.experiments() == ["greeting", "closing"]


def test_requests_come_back_as_they_were_recorded(ledger: Ledger) -> None:
    full = request("r1")
    bare = request(
        "r2",
        experiment=None,
        unit_digest=None,
        pinned=True,
        status=503,
        ttft_ms=None,
        overhead_ms=None,
        prompt_tokens=None,
        completion_tokens=None,
        finish_reason=None,
        messages=None,
        answer=None,
        started_at=NOON + timedelta(seconds=1),
    )
    ledger.record_requests([bare, full])
    ledger.record_requests([])
    assert ledger.request("r1") == full
    assert ledger.request("r2") == bare
    assert ledger.request("r3") is None
    assert list(ledger.requests()) == [full, bare]
    assert list(ledger.requests("greeting")) == [full]


def test_a_batch_that_is_sent_twice_is_kept_once(ledger: Ledger) -> None:
    ledger.record_requests([request("r1"), request("r2")])
    ledger.record_requests([request("r2", answer="changed"), request("r3")])
    assert [(row.request_id, row.answer) for row in ledger.requests()] == [
        ("r1", "hi"),
        ("r2", "hi"),
        ("r3", "hi"),
    ]


def test_times_are_kept_in_utc_whatever_zone_they_came_in(ledger: Ledger) -> None:
    in_india = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    ledger.record_requests([request("r1", started_at=in_india)])
    found = ledger.request("r1")
    assert found is not None
    assert found.started_at == NOON
    assert found.started_at.utcoffset() == timedelta(0)


def test_characters_that_no_database_takes_do_not_lose_the_batch(ledger: Ledger) -> None:
    odd = "nul \0 and half a pair \ud83d"
    messages = (Message(role="user", content=odd),)
    ledger.record_requests([request("r1", answer=odd, messages=messages), request("r2")])
    found = ledger.request("r1")
    assert found is not None
    assert found.answer == "nul \ufffd and half a pair \ufffd"
    assert found.messages == messages
    assert ledger.request("r2") is not None


def test_a_thousand_requests_are_kept_in_one_batch_within_a_second(ledger: Ledger) -> None:
    batch = [request(f"r{number:04}") for number in range(2500)]
    started = time.perf_counter()
    ledger.record_requests(batch)
    assert time.perf_counter() - started < 2.5
    assert list(ledger.requests()) == batch


def test_feedback_is_kept_once_per_id(ledger: Ledger) -> None:
    assert ledger.record_feedback(thumb("f1", "r1")) is True
    assert ledger.record_feedback(thumb("f1", "r1", value=-1)) is False
    ledger.record_requests([request("r1")])
    [answer] = ledger.answers_with_feedback()
    assert [record.value for record in answer.feedback] == [1]


def test_answers_come_with_all_their_feedback_oldest_first(ledger: Ledger) -> None:
    first, second = request("r1"), request("r2", started_at=NOON + timedelta(seconds=1))
    ledger.record_requests([second, first, request("r3")])
    up = thumb("f1", "r1")
    edit = thumb(
        "f2", "r1", kind="edit", value=None, text="hello!", created_at=NOON + timedelta(hours=1)
    )
    rating = thumb("f3", "r2", kind="rating", value=4)
    unknown = thumb("f4", "never served")
    for one in (edit, unknown, rating, up):
        ledger.record_feedback(one)
    answers = [(answer.request, answer.feedback) for answer in ledger.answers_with_feedback()]
    assert answers == [(first, (up, edit)), (second, (rating,))]
    late = [
        (answer.request, answer.feedback)
        for answer in ledger.answers_with_feedback(since=NOON + timedelta(hours=1))
    ]
    assert late == [(first, (up, edit))]


def test_reading_goes_on_while_others_write(ledger: Ledger) -> None:
    ledger.record_requests([request(f"r{number:04}") for number in range(1500)])
    seen = 0
    for row in ledger.requests():
        if seen in (0, 1200):
            ledger.record_feedback(thumb(f"f{seen}", row.request_id))
        seen += 1
    assert seen == 1500
    assert len(list(ledger.answers_with_feedback())) == 2


def test_threads_and_a_second_ledger_write_at_once(ledger: Ledger, url: str) -> None:
    with Ledger(url) as other, ThreadPoolExecutor(8) as pool:

        def write(number: int) -> None:
            chosen = other if number % 2 else ledger
            chosen.record_requests([request(f"{number}-{index}") for index in range(5)])

        list(pool.map(write, range(40)))
    assert sum(1 for _ in ledger.requests()) == 200
