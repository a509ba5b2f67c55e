"""Metrics: what may be said of an answer, and the schema of each. A metric is one row.

    {"request_id": "req-1", "metric": "thumb", "value": 1}
    {"request_id": "req-1", "metric": "problem", "label": "incomplete"}
    {"metric": "vote", "ranking": ["req-1", "req-2"]}          the first is better
    {"metric": "vote", "ranking": [["req-1", "req-2"]]}        a tie

A deployment adds its own in a YAML file (HALLMARK_FEEDBACK_METRICS):

    - {name: politeness, kind: score, low: 0, high: 10, describes: 10 is most polite}
    - {name: topic, kind: category, labels: [billing, delivery, other], describes: ...}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from registry.records import Record, UserError, describe_unknown, first_problem
from registry.served import LABELLED, FeedbackKind, FeedbackRecord

ARENA = "arena"


class MetricError(UserError):
    """A metric cannot be read, or feedback does not fit the metric that it names."""


class Metric(Record):
    """A name for one kind of feedback. ``low`` and ``high`` bound a score, both included."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    kind: FeedbackKind
    describes: str = Field(min_length=1, max_length=200)
    low: float | None = None
    high: float | None = None
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> Metric:
        if self.kind == "score":
            if self.low is None or self.high is None or not self.low < self.high:
                raise ValueError(f"score {self.name} needs low and high, low below high")
        elif self.low is not None or self.high is not None:
            raise ValueError(f"{self.name}: only a score has low and high")
        if self.kind == "category" and len(set(self.labels)) < 2:
            raise ValueError(f"category {self.name} needs at least two labels")
        if self.labels and self.kind not in LABELLED:
            raise ValueError(f"{self.name}: feedback of kind {self.kind} has no labels")
        if any(not 1 <= len(label) <= 64 for label in self.labels):
            raise ValueError(f"{self.name}: a label has 1 to 64 characters")
        return self

    def check(self, record: FeedbackRecord) -> None:
        """Raise MetricError unless the record fits."""
        if record.kind != self.kind:
            raise MetricError(
                f"metric {self.name} takes feedback of kind {self.kind}, not {record.kind}"
            )
        if self.low is not None and self.high is not None:
            value = record.value
            if value is None or not self.low <= value <= self.high:
                raise MetricError(
                    f"{self.name}: the value is a number from {self.low:g} to {self.high:g}"
                )
        if record.label is not None and record.label not in self.labels:
            raise MetricError(
                f"{self.name}: {describe_unknown('label', record.label, list(self.labels))}"
            )

    @property
    def described(self) -> dict[str, Any]:
        """What a client needs to offer it, without what does not apply."""
        return self.model_dump(mode="json", exclude_defaults=True)


TIES = ("both_good", "both_bad")

METRICS = (
    Metric(name="thumb", kind="thumb", describes="1 up, -1 down"),
    Metric(name="rating", kind="rating", describes="whole stars, 5 best"),
    Metric(name="score", kind="score", low=0, high=1, describes="1 best"),
    Metric(
        name="problem",
        kind="category",
        labels=("wrong", "incomplete", "off_topic", "unsafe", "rude", "other"),
        describes="what is wrong with the answer",
    ),
    Metric(name="edit", kind="edit", describes="the better answer"),
    Metric(name="comment", kind="comment", describes="free text"),
    Metric(name="vote", kind="vote", labels=TIES, describes="the better of two answers"),
    Metric(name="ranking", kind="ranking", describes="several answers, best first"),
    Metric(name=ARENA, kind="vote", labels=TIES, describes="a vote given without knowing whose"),
)

# The metric of a kind where none is named.
NAMED_LIKE_THEIR_KIND = {"category": "problem"}


class Metrics:
    """All metrics of a gateway by their names."""

    def __init__(self, added: Iterable[Metric] = ()) -> None:
        """Raises MetricError where a name is taken."""
        self._metrics: dict[str, Metric] = {}
        for metric in (*METRICS, *added):
            if metric.name in self._metrics:
                raise MetricError(f"there are two metrics named {metric.name}; rename one")
            self._metrics[metric.name] = metric

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._metrics.values())

    def named(self, name: str) -> Metric:
        """Raises MetricError for an unknown one."""
        if name not in self._metrics:
            raise MetricError(describe_unknown("metric", name[:64], self._metrics))
        return self._metrics[name]

    def completed(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A body's fields with the metric that its kind implies, or the kind of its metric."""
        filled = dict(fields)
        name, kind = filled.get("metric"), filled.get("kind")
        if isinstance(name, str):
            filled.setdefault("kind", self.named(name).kind)
        elif name is None and isinstance(kind, str):
            implied = NAMED_LIKE_THEIR_KIND.get(kind, kind)
            if implied in self._metrics:
                filled["metric"] = implied
        return filled


def load_metrics(path: Path) -> tuple[Metric, ...]:
    """The metrics of a YAML file, a list. Raises MetricError naming the file and the row."""
    try:
        rows = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MetricError(f"metrics {path} cannot be read: {first_problem(error)}") from error
    if not isinstance(rows, list):
        raise MetricError(f"metrics {path}: write a list of metrics, each with name and kind")
    metrics = []
    for number, row in enumerate(rows, start=1):
        try:
            metrics.append(Metric.model_validate(row))
        except ValidationError as error:
            raise MetricError(f"metrics {path}, row {number}: {first_problem(error)}") from error
    Metrics(metrics)
    return tuple(metrics)
