"""Feedback by its id, and votes between answers, as the gateway and the arena read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from registry import tables
from registry.served import FeedbackRecord
from registry.store import Store

CHUNK_IDS = 500  # that one statement names


class Opinions(Store):
    """The part of the ledger that knows what was said under which id, and of which pair."""

    def feedback_by_id(self, feedback_id: str) -> FeedbackRecord | None:
        table = tables.feedback
        rows = self._all(sa.select(table).where(table.c.feedback_id == feedback_id))
        return FeedbackRecord.model_validate(dict(rows[0]._mapping)) if rows else None

    def votes(self, metric: str) -> Iterator[FeedbackRecord]:
        """Votes of one metric, oldest first."""
        table = tables.feedback
        query = (
            sa.select(table)
            .where(table.c.kind == "vote", table.c.metric == metric)
            .order_by(table.c.created_at, table.c.feedback_id)
        )
        for row in self._stream(query):
            yield FeedbackRecord.model_validate(dict(row._mapping))

    def who_answered(self, request_ids: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Checkpoint and variant of the requests that have been recorded."""
        table = tables.requests
        found: dict[str, tuple[str, str]] = {}
        for start in range(0, len(request_ids), CHUNK_IDS):
            chosen = list(request_ids[start : start + CHUNK_IDS])
            query = sa.select(table.c.request_id, table.c.checkpoint, table.c.variant)
            for row in self._all(query.where(table.c.request_id.in_(chosen))):
                found[row.request_id] = (row.checkpoint, row.variant)
        return found
