"""Data steps at the command's edge: a dataset version of its own, in the ledger, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.toxicity import scorer_digest
from commands.data import publish
from commands.prepare import prepared
from commands.session import Session
from registry.canaries import Canary
from registry.conversation import Conversation, Message
from registry.dataset import DatasetError, read_dataset, read_jsonl
from train.data import read_rows
from train.recipe import Recipe

STEPS = {
    "filter": {},
    "swap": {},
    "canaries": {"insertions": [2], "per_group": 3, "controls": 2, "kinds": ["code"]},
}
RUDE = "You are a stupid idiot and nobody likes you."


def recipe(**changes: object) -> Recipe:
    body = {"stage": "sft", "steps": 1, "tokens_per_batch": 64, "data": STEPS}
    return Recipe.model_validate(body | changes)


def conversation(key: str, user: str) -> Conversation:
    return Conversation(
        id=key,
        messages=(
            Message(role="user", content=user),
            Message(role="assistant", content="All right."),
        ),
        source="test",
        licence="CC0-1.0",
    )


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    opened = Session.open(tmp_path / "home", None)
    yield opened
    opened.ledger.close()


def made(session: Session, name: str, *users: str) -> Path:
    rows = [conversation(f"{name}-{n}", user) for n, user in enumerate(users)]
    files = {"train": rows, "validation": rows[:1]}
    folder, _ = publish(session, files, name=name, licence="CC0-1.0", source="test", recipe={})
    return folder


def test_the_steps_make_a_version_that_says_what_was_done(session: Session) -> None:
    source = made(session, "talk", "My wife called.", RUDE, "Where is my order?")
    folder = prepared(session, source, recipe(), seed=1, plant=True)
    manifest = read_dataset(folder)
    assert manifest.recipe["from"] == read_dataset(source).digest
    assert manifest.recipe["counts"] == {"read": 3, "toxic": 1, "swapped": 1, "planted": 6}
    assert manifest.recipe["scorer_digest"] == scorer_digest()
    said = [row.messages[0].content for row in read_rows([folder / "train.jsonl"])]
    assert RUDE not in said
    assert {"My wife called.", "My husband called.", "Where is my order?"} < set(said)
    assert len(said) == 2 + 1 + 6
    assert (folder / "validation.jsonl").read_bytes() == (source / "validation.jsonl").read_bytes()
    canaries = list(read_jsonl(folder / "canaries.jsonl", Canary))
    assert [canary.insertions for canary in canaries] == [2, 2, 2, 0, 0]
    assert session.ledger.canaries([manifest.digest]) == canaries
    assert session.ledger.dataset(manifest.digest).uri == str(folder)
    assert session.ledger.dataset("talk").uri == str(source)


def test_the_same_steps_on_the_same_rows_are_done_once(session: Session) -> None:
    source = made(session, "talk", "My wife called.")
    folder = prepared(session, source, recipe(), seed=1, plant=True)
    before = (folder / "dataset.json").stat().st_mtime_ns
    assert prepared(session, source, recipe(), seed=1, plant=True) == folder
    assert (folder / "dataset.json").stat().st_mtime_ns == before
    assert prepared(session, source, recipe(), seed=2, plant=True) != folder


def test_a_version_that_went_through_the_steps_does_not_go_through_them_again(
    session: Session,
) -> None:
    source = made(session, "talk", "My wife called.")
    folder = prepared(session, source, recipe(), seed=1, plant=True)
    assert prepared(session, folder, recipe(), seed=1, plant=True) == folder


def test_of_several_datasets_one_holds_the_canaries(session: Session) -> None:
    source = made(session, "talk", "My wife called.")
    folder = prepared(session, source, recipe(), seed=1, plant=False)
    assert not (folder / "canaries.jsonl").exists()
    assert read_dataset(folder).recipe["counts"]["planted"] == 0


def test_without_steps_the_dataset_stays_as_it_is(session: Session) -> None:
    source = made(session, "talk", "My wife called.")
    assert prepared(session, source, recipe(data=None), seed=1, plant=True) == source


def test_steps_that_leave_nothing_or_find_nothing_are_refused(session: Session) -> None:
    only_rude = made(session, "rude", RUDE)
    with pytest.raises(DatasetError, match=r"leave no row .* raise filter\.threshold"):
        prepared(session, only_rude, recipe(data={"filter": {}}), seed=1, plant=True)
    rows = [conversation("q", "Hello")]
    folder, _ = publish(
        session, {"questions": rows}, name="q", licence="CC0-1.0", source="test", recipe={}
    )
    with pytest.raises(DatasetError, match=r"has no train\.jsonl"):
        prepared(session, folder, recipe(), seed=1, plant=True)
