"""What scorers said of served answers: rows of the ledger, and how far they have read.

A row holds scores and no text. Its key is the request and the scorer, so that no answer
is scored twice by one scorer, whoever tries and however often.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from pydantic import Field

from registry import tables
from registry.records import Record
from registry.store import Store


class LiveScore(Record):
    """One answer's scores by their names, each in [0, 1]."""

    request_id: str
    scorer_digest: str
    variant: str
    checkpoint: str
    scores: dict[str, float] = Field(min_length=1)
    scored_at: datetime


@dataclass(frozen=True)
class ServedAnswer:
    """An answer that the ledger keeps the text of; the text is fetched apart."""

    request_id: str
    started_at: datetime
    variant: str
    checkpoint: str


class LiveScores(Store):
    """The part of the ledger that the live audit reads and writes."""

    def unscored(
        self, scorer_digest: str, *, since: datetime | None, after: str = "", limit: int
    ) -> list[ServedAnswer]:
        """Answers to users, kept with their text, that this scorer has not scored, oldest first.

        Only those that started at ``since`` or later; at that very instant only request
        ids behind ``after``. Pinned requests are evaluation traffic and are left out.
        """
        request, scored = tables.requests, tables.live_scores
        query = (
            sa.select(
                request.c.request_id,
                request.c.started_at,
                request.c.variant,
                request.c.checkpoint,
            )
            .outerjoin(
                scored,
                (scored.c.request_id == request.c.request_id)
                & (scored.c.scorer_digest == scorer_digest),
            )
            .where(request.c.answer.is_not(None), ~request.c.pinned, request.c.status == 200)
            .where(scored.c.request_id.is_(None))
            .order_by(request.c.started_at, request.c.request_id)
            .limit(limit)
        )
        if since is not None:
            same = (request.c.started_at == since) & (request.c.request_id > after)
            # The first condition alone says so too, in a form that an index serves.
            query = query.where(request.c.started_at >= since)
            query = query.where((request.c.started_at > since) | same)
        return [ServedAnswer(*row) for row in self._all(query)]

    def answer_texts(self, request_ids: Sequence[str]) -> dict[str, str]:
        """The texts of answers that are kept, by their requests."""
        table = tables.requests
        query = sa.select(table.c.request_id, table.c.answer).where(
            table.c.request_id.in_(list(request_ids)), table.c.answer.is_not(None)
        )
        return {row.request_id: row.answer for row in self._all(query)}

    def record_live_scores(self, scores: Sequence[LiveScore]) -> list[LiveScore]:
        """Keep scores; gives those that are new, for another may have been quicker."""
        table = tables.live_scores
        with self._writing.begin() as connection:
            return [
                score for score in scores if self._add_one(connection, table, score.model_dump())
            ]

    def live_scores(self, scorer_digest: str | None = None) -> Iterator[LiveScore]:
        """All, or those of one scorer, in the order of their requests' ids."""
        table = tables.live_scores
        query = sa.select(table).order_by(table.c.request_id, table.c.scorer_digest)
        if scorer_digest is not None:
            query = query.where(table.c.scorer_digest == scorer_digest)
        for row in self._stream(query):
            yield LiveScore.model_validate(dict(row._mapping))

    def live_scores_of(self, request_id: str) -> list[LiveScore]:
        table = tables.live_scores
        query = sa.select(table).where(table.c.request_id == request_id)
        rows = self._all(query.order_by(table.c.scored_at))
        return [LiveScore.model_validate(dict(row._mapping)) for row in rows]

    def cursor(self, name: str) -> datetime | None:
        """How far a reader has come; None before its first time."""
        table = tables.cursors
        rows = self._all(sa.select(table.c.started_at).where(table.c.name == name))
        found: datetime | None = rows[0].started_at if rows else None
        return found

    def move_cursor(self, name: str, started_at: datetime) -> None:
        with self._writing.begin() as connection:
            self._put(connection, tables.cursors, {"name": name, "started_at": started_at})
