"""`hallmark feedback`: what users said, as training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from commands.erasure import publish_export
from commands.session import Session, print_json
from registry.labels import Label
from registry.records import digest_of, short
from registry.served import AnswerWithFeedback, FeedbackKind, FeedbackRecord
from serve.labelling import tasks_of
from serve.links import Links
from train.data import Pair
from train.preferences import export as export_files
from train.preferences import label_of, pair_of, pair_of_vote

VOTED = ("vote", "arena")  # metrics whose votes make pairs


def answers(session: Session, experiment: str | None) -> Iterator[AnswerWithFeedback]:
    """Answers with what users and labellers said of them."""
    labelled = labels(session)
    for one in session.ledger.answers_with_feedback():
        more = labelled.pop(one.request.request_id, ())
        if experiment is None or one.request.experiment == experiment:
            yield one.model_copy(update={"feedback": (*one.feedback, *more)})
    for request_id, said in labelled.items():
        found = session.ledger.request(request_id)
        if found and (experiment is None or found.experiment == experiment):
            yield AnswerWithFeedback(request=found, feedback=said)


def labels(session: Session) -> dict[str, tuple[FeedbackRecord, ...]]:
    """What labellers said of answers, as feedback: a thumb where they agree, their edits."""
    of_request = groupby(session.ledger.labels(), key=lambda label: label.request_id)
    return {
        request_id: opinion_of(sorted(given, key=lambda label: label.created_at))
        for request_id, given in of_request
    }


def opinion_of(given: Sequence[Label]) -> tuple[FeedbackRecord, ...]:
    """Labels of one answer, oldest first. ``acceptable`` is no opinion, nor is disagreement."""
    thumbs = {{"good": 1, "bad": -1}.get(one.label) for one in given}
    last = given[-1]
    said = []
    if thumbs in ({1}, {-1}):
        said.append(_as_feedback(last, "thumb", value=thumbs.pop()))
    edits = [one for one in given if one.better]
    if edits:
        said.append(_as_feedback(edits[-1], "edit", text=edits[-1].better))
    return tuple(said)


def _as_feedback(label: Label, kind: FeedbackKind, **fields: Any) -> FeedbackRecord:
    return FeedbackRecord(
        feedback_id=f"label-{kind}",
        request_id=label.request_id,
        kind=kind,
        created_at=label.created_at,
        **fields,
    )


def export(session: Session, folder: Path, *, experiment: str | None, json: bool) -> int:
    rows: set[tuple[str, str]] = set()
    refused = 0

    def agreed() -> Iterator[AnswerWithFeedback]:
        nonlocal refused
        for one in answers(session, experiment):
            if not one.request.may("train"):
                refused += 1
                continue
            made = (pair_of(one), label_of(one))
            rows.update((digest_of(row), one.request.request_id) for row in made if row)
            yield one

    def voted() -> Iterator[Pair]:
        for metric in VOTED:
            for vote in session.ledger.votes(metric):
                sides = [session.ledger.request(one) for one in vote.compared]
                fit = [
                    one
                    for one in sides
                    if one and one.may("train") and experiment in (None, one.experiment)
                ]
                if len(fit) < 2 or len(vote.ranking or ()) < 2:
                    continue
                pair = pair_of_vote(*fit)
                if pair is not None:
                    rows.update((digest_of(pair), one.request_id) for one in fit)
                    yield pair

    counts = {**export_files(agreed(), folder, voted=voted()), "refused": refused}
    digest = publish_export(session, folder, rows, experiment)
    if json:
        print_json({**counts, "folder": str(folder), "dataset": digest})
        return 0
    for name, count in counts.items():
        session.say(f"{name}: {count}")
    session.say(f"dataset feedback {short(digest)}")
    session.say(f"next: hallmark train prefer {folder} --parent champion --name next")
    return 0


def link(session: Session, request_id: str, *, hours: float, url: str, json: bool) -> int:
    ends = datetime.now(UTC) + timedelta(hours=hours)
    token = Links.of_folder(session.home.keys).token(request_id, ends)
    address = f"{url.rstrip('/')}/feedback#{token}"
    if json:
        print_json({"url": address, "token": token, "expires_at": ends.isoformat()})
    else:
        print(address)
    return 0


def queue(session: Session, *, limit: int, json: bool) -> int:
    """Answers with feedback, and those that the live audit scored, by what a label would teach."""
    ledger = session.ledger
    scores = {one.request_id: max(one.scores.values()) for one in ledger.live_scores()}
    said = list(ledger.answers_with_feedback())
    silent = sorted(scores.keys() - {one.request.request_id for one in said})
    unsaid = (
        AnswerWithFeedback(request=found, feedback=())
        for request_id in silent
        if (found := ledger.request(request_id))
    )
    tasks = tasks_of([*said, *unsaid], scores, now=datetime.now(UTC))
    tasks.sort(key=lambda task: (-task.priority, task.request_id))
    ledger.queue_labels(tasks[:limit])
    counts = Counter(task.reason for task in tasks[:limit])
    if json:
        print_json({"queued": len(tasks[:limit]), "reasons": dict(counts)})
        return 0
    session.say(f"{len(tasks[:limit])} answers wait on the page /label")
    for reason, count in counts.most_common():
        session.say(f"  {count}: {reason}")
    return 0
