"""`hallmark feedback`: what users said, as training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commands.erasure import publish_export
from commands.session import Session, print_json
from registry.records import digest_of, short
from registry.served import AnswerWithFeedback
from serve.labelling import tasks_of
from serve.links import Links
from train.preferences import export as export_files
from train.preferences import label_of, pair_of


def answers(session: Session, experiment: str | None) -> Iterable[AnswerWithFeedback]:
    for one in session.ledger.answers_with_feedback():
        if experiment is None or one.request.experiment == experiment:
            yield one


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

    counts = {**export_files(agreed(), folder), "refused": refused}
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
