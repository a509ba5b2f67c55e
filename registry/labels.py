"""Answers that people should look at, the most telling first, and what they said of them.

A task is an answer with a priority; whoever knows better which answers teach most writes
priorities, and the queue hands them out. Labels are not feedback: who labels is not who
asked, and experiments never count them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field

from registry import tables
from registry.conversation import Message
from registry.records import Record
from registry.served import MAX_TEXT_CHARS
from registry.store import Store

LabelName = Literal["good", "acceptable", "bad"]
LABELS: tuple[LabelName, ...] = ("good", "acceptable", "bad")
WANTED_LABELS = 2  # per answer, so that agreement can be known


class LabelTask(Record):
    """An answer to be labelled. ``priority`` in [0, 1]; 1 teaches most."""

    request_id: str
    priority: float = Field(ge=0, le=1)
    reason: str
    added_at: datetime


class Label(Record):
    """What one person said of one answer; ``better`` is the answer they would have given."""

    request_id: str = Field(min_length=1, max_length=128)
    labeller_digest: str
    label: LabelName
    better: str | None = Field(default=None, max_length=MAX_TEXT_CHARS)
    created_at: datetime


class OpenTask(Record):
    """A task with what there is to read. Texts are masked."""

    request_id: str
    reason: str
    messages: tuple[Message, ...]
    answer: str


class LabelRows(Store):
    """The part of the ledger that the labelling queue reads and writes."""

    def queue_labels(self, tasks: Sequence[LabelTask]) -> None:
        """Add tasks; one that is there already takes the new priority and reason."""
        with self._writing.begin() as connection:
            for task in tasks:
                self._put(connection, tables.label_tasks, task.model_dump())

    def next_label_task(
        self, labeller_digest: str, *, wanted: int = WANTED_LABELS
    ) -> OpenTask | None:
        """The most telling answer that this person has not labelled and that lacks labels.

        None where there is none. Answers whose text was erased or ran out are left out.
        """
        for row in self._all(_open_tasks(labeller_digest, wanted).limit(1)):
            return OpenTask.model_validate(dict(row._mapping))
        return None

    def num_label_tasks(self, labeller_digest: str, *, wanted: int = WANTED_LABELS) -> int:
        """How many answers wait for this person."""
        waiting = _open_tasks(labeller_digest, wanted).order_by(None).subquery()
        rows = self._all(sa.select(sa.func.count().label("waiting")).select_from(waiting))
        return int(rows[0].waiting)

    def is_label_task(self, request_id: str) -> bool:
        table = tables.label_tasks
        return bool(self._all(sa.select(table.c.reason).where(table.c.request_id == request_id)))

    def record_label(self, label: Label) -> None:
        """Keep a label; the same person's later word on the same answer replaces it."""
        with self._writing.begin() as connection:
            self._put(connection, tables.labels, label.model_dump())

    def labels(self) -> Iterator[Label]:
        """All, by answer."""
        table = tables.labels
        query = sa.select(table).order_by(table.c.request_id, table.c.labeller_digest)
        for row in self._stream(query):
            yield Label.model_validate(dict(row._mapping))


def _open_tasks(labeller_digest: str, wanted: int) -> sa.Select[Any]:
    task, request, label = tables.label_tasks, tables.requests, tables.labels
    given = (
        sa.select(sa.func.count())
        .select_from(label)
        .where(label.c.request_id == task.c.request_id)
        .scalar_subquery()
    )
    mine = sa.exists().where(
        label.c.request_id == task.c.request_id, label.c.labeller_digest == labeller_digest
    )
    return (
        sa.select(task.c.request_id, task.c.reason, request.c.messages, request.c.answer)
        .join(request, request.c.request_id == task.c.request_id)
        .where(request.c.answer.is_not(None), request.c.messages.is_not(None))
        .where(~mine, given < wanted)
        .order_by(task.c.priority.desc(), task.c.request_id)
    )
