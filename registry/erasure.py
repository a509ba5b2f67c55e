"""A person's way out of the ledger, and the time after which texts go by themselves.

The same walk that leads from an answer to the dataset rows and checkpoints made of it leads
an erasure there: what the ledger holds of a person is deleted in one transaction, and the
receipt names, by digest, the dataset versions that hold rows of theirs and the checkpoints
that were trained on those. It holds counts and digests, and no text.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from registry import tables
from registry.database import lock_for_writing
from registry.records import Record, digest_of
from registry.served import COMPARING
from registry.store import Store

CHUNK_IDS = 500  # that one statement names


class ErasedDataset(Record):
    """A dataset version that holds the person's rows, and the next one, which does not.

    ``successor`` is None where no next version could be made; ``reason`` says why.
    """

    name: str
    digest: str
    rows: int
    successor: str | None = None
    reason: str | None = None


class TaintedCheckpoint(Record):
    """A checkpoint that saw the person's data: itself in ``datasets``, or its ancestor did."""

    name: str
    digest: str
    datasets: tuple[str, ...]
    inherited: bool


class Receipt(Record):
    """What an erasure did. Kept in the ledger and given to who asked; no text, no ids."""

    schema_version: Literal[1] = 1
    erasure_id: str
    user_digest: str
    erased_at: datetime
    removed: dict[str, int]
    requests_digest: str
    """Over the sorted ids of the requests that were removed."""
    datasets: tuple[ErasedDataset, ...]
    checkpoints: tuple[TaintedCheckpoint, ...]

    @property
    def digest(self) -> str:
        return digest_of(self)


@dataclass(frozen=True)
class Traces:
    """Where a person's data went: their requests, and dataset rows made of them by version."""

    request_ids: tuple[str, ...]
    dataset_rows: Mapping[str, frozenset[str]]


class Erasures(Store):
    """The part of the ledger that forgets."""

    def record_dataset_rows(self, dataset_digest: str, rows: Collection[tuple[str, str]]) -> None:
        """Remember which answers a dataset version was made of: (row digest, request id)."""
        values = [
            {"dataset_digest": dataset_digest, "row_digest": row, "request_id": request_id}
            for row, request_id in rows
        ]
        with self._writing.begin() as connection:
            self._add(connection, tables.dataset_rows, values)

    def dataset_rows(self, dataset_digest: str) -> list[tuple[str, str]]:
        """(row digest, request id) of a version, sorted."""
        table = tables.dataset_rows
        query = sa.select(table.c.row_digest, table.c.request_id).where(
            table.c.dataset_digest == dataset_digest
        )
        return sorted((row.row_digest, row.request_id) for row in self._all(query))

    def salts(self) -> frozenset[str]:
        """Every salt that units may have been hashed with: experiments', their names', none."""
        table = tables.experiments
        rows = self._all(sa.select(table.c.name, table.c.body))
        said = (row.body.get("salt") for row in rows)
        return frozenset(
            {"", *(row.name for row in rows), *(salt for salt in said if isinstance(salt, str))}
        )

    def traces(self, user_digest: str, unit_digests: Collection[str] = ()) -> Traces:
        """A person's requests, by user or by an experiment's unit, and rows made of them."""
        with self._engine.connect() as connection:
            ids = _requests_of(connection, user_digest, unit_digests)
            table = tables.dataset_rows
            rows: dict[str, set[str]] = {}
            for chunk in _chunks(ids):
                query = sa.select(table.c.dataset_digest, table.c.row_digest)
                for row in connection.execute(query.where(table.c.request_id.in_(chunk))):
                    rows.setdefault(row.dataset_digest, set()).add(row.row_digest)
        return Traces(tuple(ids), {name: frozenset(found) for name, found in rows.items()})

    def tainted(self, dataset_digests: Collection[str]) -> list[TaintedCheckpoint]:
        """Checkpoints trained on one of these versions, and their descendants."""
        link, table = tables.checkpoint_datasets, tables.checkpoints
        saw: dict[str, set[str]] = {}
        wanted = list(dataset_digests)
        for row in self._all(
            sa.select(link.c.checkpoint_digest, link.c.dataset_digest).where(
                link.c.dataset_digest.in_(wanted)
            )
        ):
            saw.setdefault(row.checkpoint_digest, set()).add(row.dataset_digest)
        known = self._all(
            sa.select(table.c.digest, table.c.name, table.c.parent_digest).order_by(
                table.c.created_at, table.c.digest
            )
        )
        inherited: dict[str, set[str]] = {digest: set(found) for digest, found in saw.items()}
        changed = True
        while changed:  # a parent may have been recorded after its child
            changed = False
            for row in known:
                more = inherited.get(row.parent_digest, set()) - inherited.get(row.digest, set())
                if more:
                    inherited.setdefault(row.digest, set()).update(more)
                    changed = True
        return [
            TaintedCheckpoint(
                name=row.name,
                digest=row.digest,
                datasets=tuple(sorted(inherited[row.digest])),
                inherited=row.digest not in saw,
            )
            for row in known
            if row.digest in inherited
        ]

    def erase(
        self,
        user_digest: str,
        unit_digests: Collection[str] = (),
        *,
        datasets: Sequence[ErasedDataset] = (),
        checkpoints: Sequence[TaintedCheckpoint] = (),
        now: datetime,
    ) -> Receipt:
        """Delete a person's requests, feedback, labels and scores; keep the receipt.

        ``datasets`` and ``checkpoints`` are what ``traces`` and ``tainted`` led to. One
        transaction: all of it is gone, or nothing and the same call does it again.
        """
        with self._writing.begin() as connection:
            lock_for_writing(connection)
            ids = _requests_of(connection, user_digest, unit_digests)
            removed = _delete(connection, user_digest, ids)
            receipt = Receipt(
                erasure_id="er-" + uuid.uuid4().hex,
                user_digest=user_digest,
                erased_at=now,
                removed=removed,
                requests_digest=digest_of(sorted(ids)),
                datasets=tuple(datasets),
                checkpoints=tuple(checkpoints),
            )
            row = {
                "erasure_id": receipt.erasure_id,
                "user_digest": user_digest,
                "receipt": receipt.model_dump(mode="json"),
                "erased_at": now,
            }
            connection.execute(tables.erasures.insert(), row)
        return receipt

    def erasures(self) -> list[Receipt]:
        """Every receipt, oldest first."""
        table = tables.erasures
        query = sa.select(table.c.receipt).order_by(table.c.erased_at, table.c.erasure_id)
        return [Receipt.model_validate(row.receipt) for row in self._all(query)]

    def sweep(self, before: datetime) -> dict[str, int]:
        """Remove texts older than ``before``; counts of what was removed, by kind.

        Requests stay without their conversation, thumbs and votes without their remark;
        edits and comments, which are nothing but text, go. So do tasks for labellers.
        """
        request, feedback = tables.requests, tables.feedback
        task, label = tables.label_tasks, tables.labels
        texts = ("edit", "comment")
        old = feedback.c.created_at < before
        with self._writing.begin() as connection:
            kept = sa.or_(request.c.messages.is_not(None), request.c.answer.is_not(None))
            counts = {
                "conversations": connection.execute(
                    request.update()
                    .where(request.c.started_at < before, kept)
                    .values(messages=None, answer=None)
                ).rowcount,
                "edits and comments": connection.execute(
                    feedback.delete().where(old, feedback.c.kind.in_(texts))
                ).rowcount,
                "remarks": connection.execute(
                    feedback.update().where(old, feedback.c.text.is_not(None)).values(text=None)
                ).rowcount,
                "better answers": connection.execute(
                    label.update()
                    .where(label.c.created_at < before, label.c.better.is_not(None))
                    .values(better=None)
                ).rowcount,
                "label tasks": connection.execute(
                    task.delete().where(
                        task.c.request_id.in_(
                            sa.select(request.c.request_id).where(request.c.answer.is_(None))
                        )
                    )
                ).rowcount,
            }
        return {name: int(count) for name, count in counts.items()}


def _requests_of(
    connection: sa.Connection, user_digest: str, unit_digests: Collection[str]
) -> list[str]:
    table = tables.requests
    theirs: sa.ColumnElement[bool] = table.c.user_digest == user_digest
    if unit_digests:
        theirs = sa.or_(theirs, table.c.unit_digest.in_(sorted(unit_digests)))
    # A shadow's copy of a request holds the same words.
    copied = table.c.shadow_of.in_(sa.select(table.c.request_id).where(theirs))
    query = sa.select(table.c.request_id).where(sa.or_(theirs, copied))
    query = query.order_by(table.c.request_id)
    return [row.request_id for row in connection.execute(query)]


def _delete(connection: sa.Connection, user_digest: str, ids: Sequence[str]) -> dict[str, int]:
    """Counts of the rows that went, by table."""
    feedback, labels = tables.feedback, tables.labels
    mentions = _comparisons_of(connection, frozenset(ids))
    removed = {
        "feedback": connection.execute(
            feedback.delete().where(feedback.c.user_digest == user_digest)
        ).rowcount,
        "labels": connection.execute(
            labels.delete().where(labels.c.labeller_digest == user_digest)
        ).rowcount,
    }
    for chunk in _chunks(mentions):
        removed["feedback"] += connection.execute(
            feedback.delete().where(feedback.c.feedback_id.in_(chunk))
        ).rowcount
    for name in ("feedback", "labels", "label_tasks", "live_scores", "requests"):
        table = tables.metadata.tables[name]
        removed.setdefault(name, 0)
        for chunk in _chunks(ids):
            removed[name] += connection.execute(
                table.delete().where(table.c.request_id.in_(chunk))
            ).rowcount
    # What was made of their rows is in the receipt; the way back to them is not kept.
    for chunk in _chunks(ids):
        rows = tables.dataset_rows
        connection.execute(rows.delete().where(rows.c.request_id.in_(chunk)))
    return dict(sorted(removed.items()))


def _comparisons_of(connection: sa.Connection, ids: frozenset[str]) -> list[str]:
    """Votes and rankings that speak of one of these requests beside others."""
    table = tables.feedback
    query = sa.select(table.c.feedback_id, table.c.ranking).where(table.c.kind.in_(COMPARING))
    return [
        row.feedback_id
        for row in connection.execute(query)
        if any(one in ids for group in row.ranking for one in group)
    ]


def _chunks(values: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), CHUNK_IDS):
        yield list(values[start : start + CHUNK_IDS])
