"""Feedback into preference data."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from registry.conversation import Message
from registry.served import AnswerWithFeedback, FeedbackRecord, RequestRecord
from train.preferences import export, label_of, pair_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROMPT = (Message(role="user", content="Where is it?"),)


def answer(
    *feedback: tuple[str, float | str], text: str | None = "On its way."
) -> AnswerWithFeedback:
    request = RequestRecord(
        request_id="r", experiment=None, variant="a", checkpoint="sha256:0", unit_digest=None,
        pinned=False, route="chat", status=200, started_at=NOW, ttft_ms=None, duration_ms=1.0,
        overhead_ms=None, prompt_tokens=None, completion_tokens=None, finish_reason="stop",
        messages=PROMPT if text else None, answer=text,
    )  # fmt: skip
    records = tuple(
        FeedbackRecord(
            feedback_id=f"f{index}",
            request_id="r",
            kind=kind,  # type: ignore[arg-type]  # literals as the tests write them
            value=value if isinstance(value, (int, float)) else None,
            text=value if isinstance(value, str) else None,
            created_at=NOW + timedelta(seconds=index),
        )
        for index, (kind, value) in enumerate(feedback)
    )
    return AnswerWithFeedback(request=request, feedback=records)


def test_an_edit_is_chosen_over_the_answer_that_it_mends() -> None:
    pair = pair_of(answer(("edit", "It comes on Monday.")))
    assert pair is not None
    assert pair.prompt == PROMPT
    assert pair.chosen[0].content == "It comes on Monday."
    assert pair.rejected[0].content == "On its way."


def test_the_last_edit_counts_and_one_that_changes_nothing_makes_no_pair() -> None:
    pair = pair_of(answer(("edit", "First."), ("edit", "Second.")))
    assert pair is not None
    assert pair.chosen[0].content == "Second."
    assert pair_of(answer(("edit", " On its way. "))) is None
    assert pair_of(answer(("thumb", 1))) is None


def test_thumbs_and_telling_ratings_are_labels_and_a_three_says_nothing() -> None:
    def label(kind: str, value: float) -> bool | None:
        found = label_of(answer((kind, value)))
        return None if found is None else found.label

    assert [label("thumb", 1), label("thumb", -1)] == [True, False]
    assert [label("rating", n) for n in (1, 2, 3, 4, 5)] == [False, False, None, True, True]


def test_the_last_opinion_counts() -> None:
    found = label_of(answer(("thumb", 1), ("rating", 3), ("thumb", -1), ("comment", "hm")))
    assert found is not None
    assert found.label is False


def test_export_writes_both_files_in_the_ecosystem_s_formats(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "preferences"
    counts = export(
        [
            answer(("thumb", -1), ("edit", "Better.")),
            answer(("rating", 5)),
            answer(("thumb", 1), text=None),
            answer(),
        ],
        folder,
    )
    assert counts == {"answers": 4, "without_text": 1, "preferences": 1, "good": 1, "bad": 1}
    [pair] = [json.loads(line) for line in (folder / "preferences.jsonl").read_text().splitlines()]
    assert pair == {
        "prompt": [{"role": "user", "content": "Where is it?"}],
        "chosen": [{"role": "assistant", "content": "Better."}],
        "rejected": [{"role": "assistant", "content": "On its way."}],
    }
    labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert [label["label"] for label in labels] == [False, True]
    assert set(labels[0]) == {"prompt", "completion", "label"}
    assert sorted(p.name for p in folder.parent.iterdir()) == ["preferences"]


def test_export_of_nothing_gives_empty_files_and_replaces_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "preferences"
    export([answer(("thumb", 1))], folder)
    assert export([], folder)["good"] == 0
    assert (folder / "labels.jsonl").read_bytes() == b""
