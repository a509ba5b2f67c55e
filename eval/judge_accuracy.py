"""How often a judge is right where people are: kappa, sensitivity, specificity, and what it costs.

A judge that passes wrong answers and fails right ones moves every rate it reports. Its
errors are measured on items that people labelled too (a calibration file), and the
interval of a rate or of a change is corrected for them and for how well they are known.
The correction takes the judge to err alike on both checkpoints, and on the calibration's
items as on those judged; it cannot check either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from eval.rows import RowsError
from eval.stats import clopper_pearson, corrected_rate
from registry.dataset import read_jsonl
from registry.records import Record


class CalibrationRow(Record):
    """What the judge and people said of one item, each in [0, 1]."""

    item: str = Field(min_length=1)
    judge: float = Field(ge=0, le=1)
    human: float = Field(ge=0, le=1)
    model: str | None = None
    """The judge's model, where the file says it: then no other may be corrected by it."""


class JudgeAccuracy(Record):
    """The judge against people: counts of items, divided only where a rate is asked for."""

    pass_pass: int = Field(ge=0)
    """Judge pass, people pass."""
    pass_fail: int = Field(ge=0)
    """Judge pass, people fail."""
    fail_pass: int = Field(ge=0)
    fail_fail: int = Field(ge=0)

    @property
    def num_items(self) -> int:
        return self.pass_pass + self.pass_fail + self.fail_pass + self.fail_fail

    @property
    def num_positives(self) -> int:
        """Items that people pass."""
        return self.pass_pass + self.fail_pass

    @property
    def num_negatives(self) -> int:
        return self.pass_fail + self.fail_fail

    @property
    def sensitivity(self) -> float | None:
        """Share of the people's passes that the judge passes; None where people pass nothing."""
        return self.pass_pass / self.num_positives if self.num_positives else None

    @property
    def specificity(self) -> float | None:
        """Share of the people's fails that the judge fails; None where people fail nothing."""
        return self.fail_fail / self.num_negatives if self.num_negatives else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa of judge and people; None where chance alone would agree on all."""
        counts = (self.pass_pass, self.pass_fail, self.fail_pass, self.fail_fail)
        judged = [label for label, n in zip("ppff", counts, strict=True) for _ in range(n)]
        people = [label for label, n in zip("pfpf", counts, strict=True) for _ in range(n)]
        return cohen_kappa(judged, people) if judged else None

    @property
    def unusable(self) -> str | None:
        """Why no rate can be corrected by this judge's errors; None where one can."""
        if self.sensitivity is None or self.specificity is None:
            missing = "pass" if self.sensitivity is None else "fail"
            return f"people {missing} none of the {self.num_items} calibration items"
        youden = Fraction(self.pass_pass, self.num_positives) - Fraction(
            self.pass_fail, self.num_negatives
        )
        if youden <= 0:
            return (
                f"the judge is no better than a coin: sensitivity {self.sensitivity:.3g} and "
                f"specificity {self.specificity:.3g} do not exceed 1 together"
            )
        return None

    def corrected(self, passed: int, n: int) -> tuple[float, float]:
        """The rate that people would give where the judge passes ``passed`` of ``n``, and its SE.

        Raises ValueError where ``unusable``.
        """
        return corrected_rate(
            passed / n,
            n,
            specificity=self.specificity or 0.0,
            num_negatives=self.num_negatives,
            sensitivity=self.sensitivity or 0.0,
            num_positives=self.num_positives,
        )

    def summary(self, alpha: float = 0.05) -> dict[str, float | None]:
        """Kappa, and sensitivity and specificity with their Clopper-Pearson bounds."""
        found: dict[str, float | None] = {
            "kappa": self.kappa,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
        }
        for name, hits, n in (
            ("sensitivity", self.pass_pass, self.num_positives),
            ("specificity", self.fail_fail, self.num_negatives),
        ):
            low, high = clopper_pearson(hits, n, alpha=alpha) if n else (None, None)
            found |= {f"{name}_low": low, f"{name}_high": high}
        return found


def cohen_kappa(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Agreement of two raters' labels beyond chance, at most 1; 0 is what chance gives.

    None where both give one and the same label to all: chance agreement is 1 then.
    Source: Cohen 1960, Educational and Psychological Measurement 20:37-46.
    """
    n = len(one)
    if n != len(other) or n == 0:
        raise ValueError(f"need as many labels of both raters and some, got {n}, {len(other)}")
    agreed = Fraction(sum(a == b for a, b in zip(one, other, strict=True)), n)
    labels = set(one) | set(other)
    chance = Fraction(sum(list(one).count(x) * list(other).count(x) for x in labels), n * n)
    return None if chance == 1 else float((agreed - chance) / (1 - chance))


def measure_judge(path: Path, *, threshold: float, model: str | None = None) -> JudgeAccuracy:
    """Read a calibration file: a value of at least ``threshold`` is a pass, on both sides.

    Raises DatasetError naming file and line of a malformed row, and RowsError for an empty
    file, an item that stands twice, or rows of another judge than ``model``.
    """
    counts = {"pass_pass": 0, "pass_fail": 0, "fail_pass": 0, "fail_fail": 0}
    seen: set[str] = set()
    for number, row in enumerate(read_jsonl(path, CalibrationRow), start=1):
        if row.item in seen:
            raise RowsError(f"{path}: row {number}: item {row.item!r} stands twice; keep one")
        if None not in (model, row.model) and row.model != model:
            raise RowsError(
                f"{path}: row {number}: these are judgements of {row.model!r}, the judge is "
                f"{model!r}; measure the judge that is asked"
            )
        seen.add(row.item)
        judged = "pass" if row.judge >= threshold else "fail"
        people = "pass" if row.human >= threshold else "fail"
        counts[f"{judged}_{people}"] += 1
    if not seen:
        raise RowsError(f"{path} has no rows; give items that the judge and people judged")
    return JudgeAccuracy(**counts)


def accuracy_of(tables: Mapping[str, Any]) -> JudgeAccuracy | None:
    """The judge's accuracy as evidence holds it; None where the judge was not measured."""
    counts = tables.get("judge", {}).get("counts")
    return None if counts is None else JudgeAccuracy.model_validate(counts)


def corrected_interval(
    raw: tuple[float, float, float],
    judge: JudgeAccuracy,
    *,
    of: Literal["rate", "difference"],
    alpha: float = 0.05,
) -> tuple[float, float, float]:
    """Estimate and bounds of the people's rate, or difference of rates, behind the judge's.

    ``raw`` is the judge's own estimate and its bounds by any rule, each with alpha / 2
    beyond. With q1 the sensitivity, q0 the specificity and J = q0 + q1 - 1, a rate p of
    the judge stands for theta = (p + q0 - 1) / J (Rogan & Gladen 1978), and since both
    rates of a difference d get the same q0 - 1, which cancels, d stands for delta = d / J.
    By the delta method

        var theta = [var p + (1 - theta)^2 var q0 + theta^2 var q1] / J^2
        var delta = [var d + delta^2 (var q0 + var q1)] / J^2,

    because d delta / d q0 = d delta / d q1 = -d / J^2 and the calibration items are not the
    items judged. A bound here is where the statistic behind it, p + q0 - 1 - theta J or
    d - delta J, is as far from 0 as its own uncertainty, which is linear in what was
    measured (Fieller 1954, JRSS B 16:175-185) and holds where J is small or badly known
    and theta +- z SE does not. Uncertainties are distances from estimate to bound on the
    side that matters: the raw rule's, and Clopper-Pearson's for q0 and q1 (Zou & Donner
    2008, Statistics in Medicine 27:1693-1702). A J that may be 0 gives infinite bounds.
    Raises ValueError where the judge is ``unusable``.
    """
    if judge.unusable is not None:
        raise ValueError(judge.unusable)
    estimate, low, high = raw
    q1, q0 = judge.sensitivity or 0.0, judge.specificity or 0.0
    low1, high1 = clopper_pearson(judge.pass_pass, judge.num_positives, alpha=alpha)
    low0, high0 = clopper_pearson(judge.fail_fail, judge.num_negatives, alpha=alpha)
    youden = q0 + q1 - 1
    if of == "rate":
        above = estimate + q0 - 1
        return (
            above / youden,
            _bound(above, youden, estimate - low, (q0 - low0, high1 - q1), of, side=-1),
            _bound(above, youden, high - estimate, (high0 - q0, q1 - low1), of, side=1),
        )
    better, worse = (high0 - q0, high1 - q1), (q0 - low0, q1 - low1)
    # A bound that is positive is nearer 0 the better the judge is, a negative one the worse.
    return (
        estimate / youden,
        _bound(estimate, youden, estimate - low, better if low >= 0 else worse, of, side=-1),
        _bound(estimate, youden, high - estimate, worse if high >= 0 else better, of, side=1),
    )


def _bound(
    above: float,
    youden: float,
    raw_width: float,
    widths: tuple[float, float],
    of: Literal["rate", "difference"],
    *,
    side: Literal[-1, 1],
) -> float:
    """The x at which (above - x J)^2 = raw^2 + w0^2 (1 - x)^2 + w1^2 x^2, for a difference
    = raw^2 + (w0^2 + w1^2) x^2; infinite where no x is far enough."""
    if math.isinf(raw_width):
        return side * math.inf
    w0, w1 = (width * width for width in widths)
    constant = w0 if of == "rate" else 0.0
    a = youden * youden - w0 - w1
    b = -2 * (above * youden - constant)
    c = above * above - raw_width * raw_width - constant
    if a <= 0:
        return side * math.inf
    return (-b + side * math.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)


def render_accuracy(judge: JudgeAccuracy) -> str:
    """A few lines for people: counts, agreement, and what the judge is good for."""
    found = judge.summary()

    def rate(name: str) -> str:
        if found[name] is None:
            return f"{name} unknown"
        return f"{name} {found[name]:.3f} [{found[f'{name}_low']:.3f}, {found[f'{name}_high']:.3f}]"

    kappa = "unknown" if judge.kappa is None else f"{judge.kappa:.3f}"
    return "\n".join(
        [
            "               people pass  people fail",
            f"judge passes   {judge.pass_pass:>11}  {judge.pass_fail:>11}",
            f"judge fails    {judge.fail_pass:>11}  {judge.fail_fail:>11}",
            f"Cohen's kappa {kappa}; {rate('sensitivity')}; {rate('specificity')}",
            judge.unusable or "rates and changes can be corrected for these errors",
        ]
    )
