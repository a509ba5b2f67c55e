"""`hallmark feedback`: an export remembers its answers, and an erasure follows them."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from commands import erasure, feedback
from commands.session import Session
from registry.conversation import Message
from registry.dataset import read_dataset, verify_dataset
from registry.home import Home
from registry.labels import Label
from registry.live import LiveScore
from registry.records import digest_of
from registry.served import RequestRecord, user_digest
from serve.links import Links
from tests.ledgers import NOON, manifest, request, thumb
from train.data import references


@pytest.fixture
def session(home: Home) -> Session:
    home.root.mkdir(parents=True)
    return Session(home, Console(stderr=True, width=200))


def asked(name: str, **changes: Any) -> RequestRecord:
    values = {
        "user_digest": user_digest(name),
        "messages": (Message(role="user", content=f"{name} asks"),),
        "answer": f"answer to {name}",
    }
    return request(f"{name}-1", **(values | changes))


@pytest.fixture
def talked(session: Session) -> Session:
    """Ana, Ben and Eve got an answer and mended it; Eve does not want to be trained on."""
    session.ledger.record_requests([asked("ana"), asked("ben"), asked("eve", purposes=("review",))])
    for name in ("ana", "ben", "eve"):
        for one in (
            thumb(f"{name}-thumb", f"{name}-1", value=-1),
            thumb(f"{name}-edit", f"{name}-1", kind="edit", value=None, text=f"better for {name}"),
        ):
            session.ledger.record_feedback(one)
    return session


def export(session: Session, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    feedback.export(session, folder, experiment=None, json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def erase(session: Session, user: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert erasure.erase(session, user, json=True) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def texts(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("*.jsonl")))


def test_an_export_is_a_dataset_version_and_leaves_out_who_refused(talked, tmp_path, capsys):
    folder = tmp_path / "preferences"
    counts = export(talked, folder, capsys)
    assert {name: counts[name] for name in ("answers", "preferences", "bad", "refused")} == {
        "answers": 2, "preferences": 2, "bad": 2, "refused": 1,
    }  # fmt: skip
    assert "eve" not in texts(folder)
    row = talked.ledger.dataset("feedback")
    assert row.digest == counts["dataset"] == read_dataset(folder).digest
    assert references([folder])[0].digest == counts["dataset"]
    assert texts(Path(row.uri)) == texts(folder)
    assert len(talked.ledger.dataset_rows(row.digest)) == 4


def test_an_erased_person_is_in_no_next_version_and_the_receipt_says_who_saw_them(
    talked, tmp_path, capsys
):
    first = export(talked, tmp_path / "one", capsys)["dataset"]
    saw = manifest("saw", datasets=(references([tmp_path / "one"])[0],))
    later = saw.created_at + timedelta(seconds=1)
    child = manifest("child", parent_digest=saw.weights_digest, created_at=later)
    for one in (saw, child, manifest("clean")):
        talked.ledger.record_checkpoint(one, "/x")
    talked.home.reports.mkdir(parents=True)
    for name in ("ana-1", "ben-1"):
        talked.home.explained(name).write_text("page")
    receipt = erase(talked, "ana", capsys)

    assert not talked.home.explained("ana-1").exists()
    assert talked.home.explained("ben-1").exists()
    assert receipt["removed"]["requests"] == 1
    assert receipt["removed"]["feedback"] == 2
    [dataset] = receipt["datasets"]
    assert (dataset["digest"], dataset["rows"]) == (first, 2)
    assert [(one["name"], one["inherited"]) for one in receipt["checkpoints"]] == [
        ("saw", False), ("child", True),
    ]  # fmt: skip
    newest = talked.ledger.dataset("feedback")
    assert newest.digest == dataset["successor"] != first
    assert verify_dataset(Path(newest.uri)).recipe["without_rows_of"] == first
    assert "ana" not in texts(Path(newest.uri))
    assert texts(Path(newest.uri)).count("better for ben") == 1
    assert len(talked.ledger.dataset_rows(newest.digest)) == 2
    export(talked, tmp_path / "two", capsys)
    assert "ana" not in texts(tmp_path / "two")
    stored = json.loads((talked.home.reports / f"{receipt['erasure_id']}.json").read_text())
    assert digest_of(stored) == receipt["digest"]
    assert "ana" not in json.dumps(stored).replace(receipt["user_digest"], "")


def test_rows_that_were_a_version_before_become_the_newest_again(talked, tmp_path, capsys):
    """Without Ana the first version's rows come back; it must not be the tainted one that is
    found by name."""
    talked.ledger.record_requests([asked("zoe")])
    only_ben = tmp_path / "ben"
    late = [thumb("zoe-thumb", "zoe-1", value=1)]
    first = export(talked, only_ben, capsys)["dataset"]
    talked.ledger.record_feedback(late[0])
    second = export(talked, tmp_path / "both", capsys)["dataset"]
    assert first != second
    receipt = erase(talked, "zoe", capsys)
    assert [one["successor"] for one in receipt["datasets"]] == [first]
    assert talked.ledger.dataset("feedback").digest == first


def test_a_person_known_by_an_experiments_unit_is_found_by_every_salt(session, capsys):
    session.ledger.record_experiment("spring", {"salt": "pepper", "variants": []})
    # SHA-256 of "pepper:ana", as the assignment hashes it (serve.assignment).
    unit = digest_of(b"pepper:ana")
    session.ledger.record_requests([request("r", unit_digest=unit)])
    assert erase(session, "ana", capsys)["removed"]["requests"] == 1


def test_a_version_that_is_gone_is_named_with_its_reason(talked, tmp_path, capsys):
    digest = export(talked, tmp_path / "one", capsys)["dataset"]
    stored = Path(talked.ledger.dataset("feedback").uri)
    (stored / "labels.jsonl").write_text("{}\n")
    talked.ledger.record_dataset_rows(digest_of("elsewhere"), [("row", "ana-1")])
    found = {one["digest"]: one for one in erase(talked, "ana", capsys)["datasets"]}
    assert found[digest]["successor"] is None
    assert "labels.jsonl was changed" in found[digest]["reason"]
    assert "does not know where" in found[digest_of("elsewhere")]["reason"]


def test_a_link_is_one_that_the_gateway_of_this_home_opens(session, capsys):
    feedback.link(session, "req-1", hours=1, url="https://chat.example.org/", json=True)
    made = json.loads(capsys.readouterr().out)
    assert made["url"] == f"https://chat.example.org/feedback#{made['token']}"
    opened = Links.of_folder(session.home.keys).open(made["token"], now=NOON)
    assert opened.request_id == "req-1"


def test_the_queue_takes_what_people_or_the_audit_are_unsure_of(talked, capsys):
    ledger = talked.ledger
    ledger.record_requests([asked("kim"), asked("lou", purposes=())])
    for name in ("kim", "lou"):
        scores = {"toxicity": 0.45}
        ledger.record_live_scores(
            [LiveScore(request_id=f"{name}-1", scorer_digest="s", variant="a", checkpoint="c",
                       scores=scores, scored_at=NOON)]
        )  # fmt: skip
    ledger.record_feedback(thumb("ana-up", "ana-1", value=1))
    feedback.queue(talked, limit=10, json=True)
    assert json.loads(capsys.readouterr().out) == {
        "queued": 2, "reasons": {"people disagree": 1, "the live audit is not sure": 1},
    }  # fmt: skip
    first = ledger.next_label_task("someone")
    assert first is not None
    assert first.request_id == "ana-1"


def test_retention_prints_what_went(session, capsys):
    session.ledger.record_requests([request("old")])
    session.home.reports.mkdir(parents=True)
    for name in ("old", "new"):
        session.home.explained(name).write_text("page")
    os.utime(session.home.explained("old"), (NOON.timestamp(), NOON.timestamp()))
    erasure.retention(session, 30, json=True)
    counts = json.loads(capsys.readouterr().out)
    assert (counts["conversations"], counts["explained answers"]) == (1, 1)
    assert list(session.home.reports.iterdir()) == [session.home.explained("new")]


def test_votes_and_labels_come_back_as_training_data(session, tmp_path, capsys):
    ledger = session.ledger
    question = (Message(role="user", content="Where?"),)
    for name in ("left", "right", "other"):
        messages = (Message(role="user", content="Else?"),) if name == "other" else question
        ledger.record_requests([asked(name, messages=messages)])
    for number, ids in enumerate((("right-1", "left-1"), ("left-1", "other-1"))):
        ranking = tuple((one,) for one in ids)
        ledger.record_feedback(
            thumb(f"v{number}", ids[0], kind="vote", value=None, metric="arena", ranking=ranking)
        )
    for hours, who in enumerate(("zoe", "ben")):
        at = NOON + timedelta(hours=hours)
        ledger.record_label(
            Label(request_id="other-1", labeller_digest=who, label="bad", better=f"{who}'s",
                  created_at=at)
        )  # fmt: skip
    for who, label in (("ana", "good"), ("ben", "bad")):
        ledger.record_label(
            Label(request_id="left-1", labeller_digest=who, label=label, created_at=NOON)
        )
    counts = export(session, tmp_path / "out", capsys)
    assert (counts["preferences"], counts["good"], counts["bad"]) == (2, 0, 1)
    pairs = [
        json.loads(line)
        for line in (tmp_path / "out" / "preferences.jsonl").read_text().split("\n")[:-1]
    ]
    assert {(one["chosen"][0]["content"], one["rejected"][0]["content"]) for one in pairs} == {
        ("ben's", "answer to other"), ("answer to right", "answer to left"),
    }  # fmt: skip
    erase(session, "left", capsys)
    assert "answer to left" not in texts(Path(ledger.dataset("feedback").uri))
