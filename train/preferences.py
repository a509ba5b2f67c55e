"""Feedback into preference data, in the two formats that the ecosystem uses.

An edit makes a pair: the edited answer is chosen, the given one rejected. Thumbs, and
ratings of 4 and more or 2 and less, make labelled completions. A later statement of the
same kind on the same answer replaces the earlier one; a rating of 3 says nothing. A vote
between two answers to the same prompt makes a pair too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from registry.conversation import Message
from registry.dataset import write_jsonl
from registry.served import AnswerWithFeedback, FeedbackRecord, RequestRecord
from train.data import Labelled, Pair

GOOD_RATING, BAD_RATING = 4, 2


def pair_of(answer: AnswerWithFeedback) -> Pair | None:
    """The pair that the last edit makes; None without an edit that changes something."""
    request = answer.request
    edits = [one for one in answer.feedback if one.kind == "edit" and one.text]
    if not edits or not request.messages or not request.answer:
        return None
    better = str(edits[-1].text).strip()
    if better == request.answer.strip():
        return None
    return Pair(
        prompt=request.messages,
        chosen=(Message(role="assistant", content=better),),
        rejected=(Message(role="assistant", content=request.answer),),
    )


def pair_of_vote(better: RequestRecord, worse: RequestRecord) -> Pair | None:
    """The pair that a vote makes; None where prompts differ, texts are missing or are alike."""
    if not better.messages or better.messages != worse.messages:
        return None
    if not better.answer or not worse.answer or better.answer.strip() == worse.answer.strip():
        return None
    return Pair(
        prompt=better.messages,
        chosen=(Message(role="assistant", content=better.answer),),
        rejected=(Message(role="assistant", content=worse.answer),),
    )


def label_of(answer: AnswerWithFeedback) -> Labelled | None:
    """The labelled completion that the last thumb or telling rating makes."""
    request = answer.request
    opinions = [said for one in answer.feedback if (said := _opinion(one)) is not None]
    if not opinions or not request.messages or not request.answer:
        return None
    return Labelled(
        prompt=request.messages,
        completion=(Message(role="assistant", content=request.answer),),
        label=opinions[-1],
    )


def _opinion(feedback: FeedbackRecord) -> bool | None:
    if feedback.value is None:
        return None
    if feedback.kind == "thumb":
        return feedback.value > 0
    if feedback.kind == "rating" and feedback.value >= GOOD_RATING:
        return True
    if feedback.kind == "rating" and feedback.value <= BAD_RATING:
        return False
    return None


def export(
    answers: Iterable[AnswerWithFeedback], folder: Path, *, voted: Iterable[Pair] = ()
) -> dict[str, int]:
    """Write ``preferences.jsonl`` and ``labels.jsonl``; gives how many rows of what.

    ``voted`` are pairs beside those of the answers' edits.
    Both files are always written and appear together. Answers whose conversation was
    not stored are counted as ``without_text``.
    """
    counts = {"answers": 0, "without_text": 0, "preferences": 0, "good": 0, "bad": 0}
    pairs: list[Pair] = []
    labels: list[Labelled] = []
    for answer in answers:
        counts["answers"] += 1
        if not answer.request.messages or not answer.request.answer:
            counts["without_text"] += 1
            continue
        pair, label = pair_of(answer), label_of(answer)
        if pair:
            pairs.append(pair)
        if label:
            labels.append(label)
    pairs += voted
    counts["preferences"] = len(pairs)
    counts["good"] = sum(label.label for label in labels)
    counts["bad"] = len(labels) - counts["good"]
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write_jsonl(unfinished / "preferences.jsonl", pairs)
    write_jsonl(unfinished / "labels.jsonl", labels)
    folder.mkdir(exist_ok=True)
    for name in ("preferences.jsonl", "labels.jsonl"):
        (unfinished / name).replace(folder / name)
    unfinished.rmdir()
    return counts
