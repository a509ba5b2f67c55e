"""What happens to experiments while they run, and the moments that guardrails are judged on.

An experiment's state is what its events since the last start add up to (see
``serve.experiment_state``). Events are only ever added, each under a key, so that of
several gateways that see the same thing one writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from pydantic import Field

from registry import tables
from registry.database import LedgerError
from registry.records import Record, describe_unknown
from registry.store import Store

EventKind = Literal["start", "ramp", "weights", "pause", "breach", "resume", "stop"]


class ExperimentEvent(Record):
    """``variant`` is None where the whole experiment is meant.

    ``body`` has the numbers: ``share`` of a ramp, ``weights`` of a bandit, a guardrail's
    finding of a breach. ``key`` makes writing it again harmless.
    """

    key: str = Field(min_length=1, max_length=256)
    experiment: str
    kind: EventKind
    variant: str | None = None
    reason: str
    body: dict[str, Any] = Field(default_factory=dict)
    at: datetime


class UnitMoments(NamedTuple):
    """Of one variant's units, each with the mean of its own values."""

    variant: str
    num_units: int
    total: float
    squares: float


class ExperimentRows(Store):
    """The part of the ledger that a guardian reads and writes."""

    def record_experiment_event(self, event: ExperimentEvent) -> bool:
        """False where an event of this key was there already; the first one stays."""
        table = tables.experiment_events
        statement = self._insert(table).values(**event.model_dump()).on_conflict_do_nothing()
        with self._writing.begin() as connection:
            return connection.execute(statement.returning(table.c.id)).first() is not None

    def experiment_events(self, experiment: str) -> list[ExperimentEvent]:
        """In the order in which they were written."""
        table = tables.experiment_events
        query = sa.select(table).where(table.c.experiment == experiment).order_by(table.c.id)
        return [
            ExperimentEvent.model_validate(
                {name: row._mapping[name] for name in ExperimentEvent.model_fields}
            )
            for row in self._all(query)
        ]

    def unit_moments(self, experiment: str, metric: str, since: datetime) -> list[UnitMoments]:
        """Of each variant that answered units of the experiment since then, by name.

        ``metric`` is of REQUEST_METRICS, ``thumbs_down`` (the latest thumb on an answer
        counts) or ``score:NAME`` of a live score. Values of one unit are averaged first,
        for answers to one person are not independent. Pinned and excluded requests are
        left out. Raises LedgerError for a metric that there is not.
        """
        request = tables.requests
        value, sources = _value(metric)
        unit = (
            sa.select(request.c.variant, sa.func.avg(value).label("mean"))
            .select_from(sources)
            .where(
                request.c.experiment == experiment,
                request.c.started_at >= since,
                request.c.unit_digest.is_not(None),
                request.c.excluded.is_(None),
                ~request.c.pinned,
                value.is_not(None),
            )
            .group_by(request.c.variant, request.c.unit_digest)
            .subquery()
        )
        query = (
            sa.select(
                unit.c.variant,
                sa.func.count(),
                sa.func.sum(unit.c.mean),
                sa.func.sum(unit.c.mean * unit.c.mean),
            )
            .group_by(unit.c.variant)
            .order_by(unit.c.variant)
        )
        return [
            UnitMoments(row[0], int(row[1]), float(row[2]), float(row[3]))
            for row in self._all(query)
        ]


def _error() -> sa.ColumnElement[Any]:
    request = tables.requests
    broke_off = request.c.finish_reason.in_(("error", "abort"))
    return sa.case((request.c.status >= 500, 1.0), (broke_off, 1.0), else_=0.0)


def _answered(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The column's value for answers with status 200, else NULL."""
    return sa.case((tables.requests.c.status == 200, sa.cast(column, sa.Double)), else_=sa.null())


REQUEST_METRICS: dict[str, Callable[[], sa.ColumnElement[Any]]] = {
    "errors": _error,
    "ttft_ms": lambda: _answered(tables.requests.c.ttft_ms),
    "duration_ms": lambda: _answered(tables.requests.c.duration_ms),
    "completion_tokens": lambda: _answered(tables.requests.c.completion_tokens),
}


def _value(metric: str) -> tuple[sa.ColumnElement[Any], sa.FromClause]:
    """A metric's value per row, and the tables that it takes."""
    request, said, scored = tables.requests, tables.feedback, tables.live_scores
    if metric in REQUEST_METRICS:
        return REQUEST_METRICS[metric](), request
    if metric == "thumbs_down":
        later = said.alias("later")
        changed = sa.exists().where(
            later.c.request_id == said.c.request_id,
            later.c.kind == "thumb",
            later.c.created_at > said.c.created_at,
        )
        down = sa.case((changed, sa.null()), (said.c.value < 0, 1.0), else_=0.0)
        on = (said.c.request_id == request.c.request_id) & (said.c.kind == "thumb")
        return down, request.join(said, on)
    name = metric.removeprefix("score:")
    if name != metric and name:
        found = scored.c.scores[name].as_float()
        return found, request.join(scored, scored.c.request_id == request.c.request_id)
    known = [*REQUEST_METRICS, "thumbs_down", "score:NAME"]
    raise LedgerError(describe_unknown("guardrail metric", metric, known))
