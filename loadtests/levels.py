"""Samples of a load test, their exact percentiles, and the service levels they must meet.

Locust rounds its percentiles to two digits (1449 ms becomes 1400 ms), so limits are
checked on the samples themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

MEASURES = ("ttft_ms", "inter_token_ms", "answer_ms")


@dataclass
class Samples:
    """Milliseconds per streamed answer (``inter_token_ms``: per gap), and counts."""

    ttft_ms: list[float] = field(default_factory=list)
    inter_token_ms: list[float] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)
    failed_answers: int = 0
    feedback: int = 0
    failed_feedback: int = 0

    def add(self, other: Samples) -> None:
        for name in MEASURES:
            getattr(self, name).extend(getattr(other, name))
        self.failed_answers += other.failed_answers
        self.feedback += other.feedback
        self.failed_feedback += other.failed_feedback

    def drain(self) -> dict[str, Any]:
        """Everything as plain values, and start afresh."""
        drained = vars(self).copy()
        vars(self).update(vars(Samples()))
        return drained

    @property
    def answers(self) -> int:
        return len(self.answer_ms) + self.failed_answers


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest sample that ``percent`` of all do not exceed; None without samples."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(percent / 100 * len(values)) - 1, 0)]


@dataclass(frozen=True)
class Level:
    """One line of the service levels; ``measured`` is None where nothing was measured."""

    name: str
    measured: float | None
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Nothing measured is nothing met."""
        if self.measured is None:
            return False
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


def load_levels(path: Path) -> dict[str, dict[str, float]]:
    """Limits by measure, as ``{"ttft_ms": {"p95": 500}}``; ValueError names a wrong key."""
    wanted = yaml.safe_load(path.read_text())
    for measure, limits in wanted.items():
        allowed = {"answers": ("min", "max_failed_share")}.get(measure, ("p50", "p95", "p99"))
        if measure not in (*MEASURES, "answers"):
            raise ValueError(f"{path}: no measure {measure!r}; have answers, {', '.join(MEASURES)}")
        for key in limits:
            if key not in allowed:
                raise ValueError(f"{path}: {measure} has no {key!r}; have {', '.join(allowed)}")
    return dict(wanted)


def judge(samples: Samples, levels: dict[str, dict[str, float]]) -> list[Level]:
    """Each limit beside what was measured."""
    rows = []
    for measure, limits in levels.items():
        for key, limit in limits.items():
            if key == "min":
                rows.append(Level("answers", samples.answers, limit, at_most=False))
            elif key == "max_failed_share":
                share = samples.failed_answers / samples.answers if samples.answers else None
                rows.append(Level("failed share", share, limit))
            else:
                values = getattr(samples, measure)
                rows.append(Level(f"{measure} {key}", percentile(values, float(key[1:])), limit))
    return rows


def table(rows: Sequence[Level]) -> str:
    lines = [f"{'service level':<22}{'measured':>12}{'limit':>12}"]
    for row in rows:
        measured = "-" if row.measured is None else f"{row.measured:.4g}"
        sign = "<=" if row.at_most else ">="
        verdict = "met" if row.met else "MISSED"
        lines.append(f"{row.name:<22}{measured:>12}{f'{sign} {row.limit:g}':>12}  {verdict}")
    return "\n".join(lines)


def as_json(samples: Samples, rows: Sequence[Level]) -> str:
    """Counts, percentiles and levels, for a machine."""
    return json.dumps(
        {
            "answers": samples.answers,
            "failed_answers": samples.failed_answers,
            "feedback": samples.feedback,
            "failed_feedback": samples.failed_feedback,
            **{
                name: {
                    f"p{percent}": percentile(getattr(samples, name), percent)
                    for percent in (50, 95, 99)
                }
                for name in MEASURES
            },
            "levels": [{**asdict(row), "met": row.met} for row in rows],
        },
        indent=2,
    )
