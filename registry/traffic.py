"""What serving writes: experiments, answered requests, and the feedback on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, TypeVar

import sqlalchemy as sa

from registry import tables
from registry.records import Record
from registry.served import AnswerWithFeedback, FeedbackRecord, RequestRecord
from registry.store import Store

M = TypeVar("M", bound=Record)


class Traffic(Store):
    """The part of the ledger that grows with every request."""

    def record_experiment(self, name: str, body: Mapping[str, Any]) -> None:
        """Keep what an experiment is; a different body becomes its newest version."""
        if self.experiment(name) == body:
            return
        row = {"name": name, "body": dict(body), "created_at": datetime.now(UTC)}
        with self._writing.begin() as connection:
            connection.execute(tables.experiments.insert(), row)

    def experiment(self, name: str) -> dict[str, Any] | None:
        """The newest version of an experiment's body; None where there is none."""
        table = tables.experiments
        query = sa.select(table.c.body).where(table.c.name == name).order_by(table.c.id.desc())
        rows = self._all(query.limit(1))
        return rows[0].body if rows else None

    def experiments(self) -> list[str]:
        """Their names, in the order in which they began."""
        table = tables.experiments
        query = sa.select(table.c.name).group_by(table.c.name).order_by(sa.func.min(table.c.id))
        return [row.name for row in self._all(query)]

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keep a batch of answered requests at once; those that are there already stay."""
        with self._writing.begin() as connection:
            self._add(connection, tables.requests, [record.model_dump() for record in records])

    def request(self, request_id: str) -> RequestRecord | None:
        table = tables.requests
        rows = self._all(sa.select(table).where(table.c.request_id == request_id))
        return _record(RequestRecord, rows[0]._mapping, "") if rows else None

    def requests(self, experiment: str | None = None) -> Iterator[RequestRecord]:
        """Answered requests, all or those of one experiment, oldest first."""
        table = tables.requests
        query = sa.select(table).order_by(table.c.started_at, table.c.request_id)
        if experiment is not None:
            query = query.where(table.c.experiment == experiment)
        for row in self._stream(query):
            yield _record(RequestRecord, row._mapping, "")

    def record_feedback(self, record: FeedbackRecord) -> bool:
        """False where ``feedback_id`` was there already; the first record stays."""
        with self._writing.begin() as connection:
            return self._add_one(connection, tables.feedback, record.model_dump())

    def feedback(self, request_id: str) -> list[FeedbackRecord]:
        """What was said of one answer, oldest first."""
        table = tables.feedback
        query = sa.select(table).where(table.c.request_id == request_id)
        rows = self._all(query.order_by(table.c.created_at, table.c.feedback_id))
        return [_record(FeedbackRecord, row._mapping, "") for row in rows]

    def answers_with_feedback(self, since: datetime | None = None) -> Iterator[AnswerWithFeedback]:
        """Answers that got feedback, oldest first, each with all of it.

        With ``since`` only answers with feedback at or after that time. Feedback on a
        request that was never recorded is left out.
        """
        request, feedback = tables.requests, tables.feedback
        said = [column.label(f"feedback_{column.name}") for column in feedback.c]
        query = (
            sa.select(request, *said)
            .join(feedback, feedback.c.request_id == request.c.request_id)
            .order_by(
                request.c.started_at,
                request.c.request_id,
                feedback.c.created_at,
                feedback.c.feedback_id,
            )
        )
        if since is not None:
            late = sa.select(feedback.c.request_id).where(feedback.c.created_at >= since)
            query = query.where(request.c.request_id.in_(late))
        for _, rows in groupby(self._stream(query), key=lambda row: row.request_id):
            both = [row._mapping for row in rows]
            yield AnswerWithFeedback(
                request=_record(RequestRecord, both[0], ""),
                feedback=tuple(_record(FeedbackRecord, row, "feedback_") for row in both),
            )


def _record(model: type[M], row: Mapping[str, Any], prefix: str) -> M:
    return model.model_validate({name: row[prefix + name] for name in model.model_fields})
