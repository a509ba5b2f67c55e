"""From items to an interval: which rule applies to which kind of check, and its name.

Two questions for each kind: how the candidate differs from the baseline on the same
items (``paired``), and what its own value is (``own``). Differences are signed so
that higher is better. Where a rule is not trustworthy (too few clusters or
documents) the reading says why, and the gate calls it INCONCLUSIVE.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from eval.checks import Check
from eval.judge_accuracy import JudgeAccuracy, corrected_interval
from eval.stats import (
    Interval,
    clopper_pearson,
    cluster_interval,
    exact,
    jackknife_ratio_interval,
    korn_graubard_interval,
    paired_score_interval,
    paired_t,
    sign_flip_interval,
    sparse_interval,
)
from registry.evidence import Item

MIN_PAIRS = 20  # fewer say little, whatever the rule: without one that differs [-.16, .16]
MIN_CLUSTERS_FOR_T = 10  # cluster-t errs .026 at ten clusters, more below
MIN_CLUSTERS = 6  # fewer sign patterns than 1/.025 below: nothing can be certified
MIN_NONZERO = 6  # fewer non-zero differences: their spread says nothing about the rest
MIN_DOCUMENTS = 30
# Below, the jackknife's one-sided error exceeds .025 (.036 at 30 documents): halve alpha. In
# simulation that holds it to .012-.014 for lengths spread like dialogues; for lognormal lengths
# (sigma 1) with skewed rates it is .060 at 30 and .036 at 200: ask for more documents there.
WIDENED_DOCUMENTS = 1000


@dataclass(frozen=True)
class Reading:
    """One interval as the gate reads it; infinite bounds mean that nothing is certified."""

    estimate: float
    low: float
    high: float
    method: str
    too_few: str | None = None


@dataclass(frozen=True)
class Pair:
    """One item on both sides, oriented so that higher is better."""

    candidate: float
    baseline: float
    weight: float
    cluster: str


def _sign(row: Check) -> int:
    return 1 if row.higher_is_better else -1


def _worst_and_best(row: Check) -> tuple[float | None, float | None]:
    """Both bounds, or neither: an unscored item is filled in only where both are known."""
    low, high = row.bounds
    if low is None or high is None:
        return None, None
    return (low, high) if row.higher_is_better else (high, low)


def pair_up(row: Check, candidate: Sequence[Item], baseline: Sequence[Item]) -> list[Pair]:
    """The items of both sides by key. One unscored on one side only counts as the worst
    value for the candidate or the best for the baseline; the pair is left out where the
    check has no such bound, and where neither side has a value."""
    other = {item.key: item for item in baseline}
    worst, best = _worst_and_best(row)
    pairs = []
    for item in sorted(candidate, key=lambda i: i.key):
        mine, theirs = item.value, other[item.key].value
        if mine is not None and theirs is None:
            theirs = best
        elif mine is None and theirs is not None:
            mine = worst
        if mine is None or theirs is None:
            continue
        weight = 1.0 if item.weight is None else item.weight
        pairs.append(Pair(_sign(row) * mine, _sign(row) * theirs, weight, item.cluster or item.key))
    return pairs


def paired(
    row: Check, pairs: Sequence[Pair], *, alpha: float, judge: JudgeAccuracy | None = None
) -> Reading:
    """Candidate minus baseline, higher better, with alpha (one-sided) on each bound.

    With ``judge`` the values are a judge's passes, 0 or 1, and the reading is what people
    would give (``eval.judge_accuracy``).
    """
    if row.kind == "contrasts":
        raise ValueError(f"{row.name}: contrasts have no change against a baseline")
    if judge is not None:
        return _corrected(_paired_binary(pairs, alpha), judge, "difference", alpha)
    if row.kind in {"binary", "rare_harm"}:
        return _paired_binary(pairs, alpha)
    if row.kind == "bits_per_byte":
        return _ratio(pairs, alpha, difference=True)
    low, high = row.bounds
    reach = None if low is None or high is None else high - low
    differences = [float(exact(p.candidate) - exact(p.baseline)) for p in pairs]
    reading = _mean(differences, [p.cluster for p in pairs], alpha, reach, centre=0.0)
    return reading if reach is None else _clipped(reading, -reach, reach)


def own(
    row: Check, items: Sequence[Item], *, alpha: float, judge: JudgeAccuracy | None = None
) -> Reading:
    """The candidate's own value in the check's unit, with alpha (one-sided) on each bound.

    ``judge`` as in ``paired``. Of contrasts, the size of the group's that reaches furthest.
    """
    if row.kind == "contrasts":
        from eval.contrasts import furthest  # which reads each group by the rules below

        return furthest(row, items, alpha=alpha)
    worst, _ = _worst_and_best(row)
    filled = [
        (item, worst if item.value is None else item.value)
        for item in sorted(items, key=lambda i: i.key)
    ]
    kept = [(item, value) for item, value in filled if value is not None]
    clusters = [item.cluster or item.key for item, _ in kept]
    values = [value for _, value in kept]
    if judge is not None:
        return _corrected(_own_binary(values, clusters, alpha), judge, "rate", alpha)
    if row.kind in {"binary", "rare_harm"}:
        return _own_binary(values, clusters, alpha)
    if row.kind == "bits_per_byte":
        rows = [
            Pair(value, 0.0, 1.0 if item.weight is None else item.weight, cluster)
            for (item, value), cluster in zip(kept, clusters, strict=True)
        ]
        return _bounded(row, _ratio(rows, alpha, difference=False))
    low, high = row.bounds
    centre, _ = Counter(values).most_common(1)[0] if values else (0.0, 0)
    reach = None if low is None or high is None else max(high - centre, centre - low)
    return _bounded(row, _mean(values, clusters, alpha, reach, centre=centre))


def _bounded(row: Check, reading: Reading) -> Reading:
    low, high = row.bounds
    return _clipped(reading, -math.inf if low is None else low, math.inf if high is None else high)


def _clipped(reading: Reading, low: float, high: float) -> Reading:
    return Reading(
        reading.estimate,
        max(reading.low, low),
        min(reading.high, high),
        reading.method,
        reading.too_few,
    )


def _corrected(
    raw: Reading, judge: JudgeAccuracy, of: Literal["rate", "difference"], alpha: float
) -> Reading:
    """A reading of a judge's passes as people would pass."""
    bounds = (raw.estimate, raw.low, raw.high)
    estimate, low, high = corrected_interval(bounds, judge, of=of, alpha=2 * alpha)
    least = 0.0 if of == "rate" else -1.0
    too_few = raw.too_few
    if low > 1 or high < least:
        too_few = "the judge's error rates cannot give this result: calibrate it on such answers"
    method = (
        f"{raw.method}; {raw.estimate:.4g} [{raw.low:.4g}, {raw.high:.4g}] corrected for a judge "
        f"of sensitivity {judge.sensitivity:.3g} (n={judge.num_positives}) and specificity "
        f"{judge.specificity:.3g} (n={judge.num_negatives})"
    )
    return Reading(
        min(max(estimate, least), 1.0),
        min(max(low, least), 1.0),
        min(max(high, least), 1.0),
        method,
        too_few,
    )


def _level(alpha: float) -> str:
    return f"{100 * (1 - 2 * alpha):g}%"


def _paired_binary(pairs: Sequence[Pair], alpha: float) -> Reading:
    b = sum(p.baseline > p.candidate for p in pairs)
    c = sum(p.candidate > p.baseline for p in pairs)
    low, high = paired_score_interval(b, c, len(pairs), alpha=2 * alpha)
    reading = Reading(
        float(Fraction(c - b, len(pairs))),
        low,
        high,
        f"Tango score interval, {_level(alpha)}; {b} lost, {c} won",
        None if len(pairs) >= MIN_PAIRS else f"{len(pairs)} pairs; {MIN_PAIRS} are the least",
    )
    differences = [p.candidate - p.baseline for p in pairs]
    return _clipped(_widened(reading, differences, [p.cluster for p in pairs], alpha), -1, 1)


def _own_binary(values: Sequence[float], clusters: Sequence[str], alpha: float) -> Reading:
    hits = sum(value == 1 for value in values)
    low, high = clopper_pearson(hits, len(values), alpha=2 * alpha)
    method = f"Clopper-Pearson interval, {_level(alpha)}; {hits} of {len(values)}"
    reading = Reading(float(Fraction(hits, len(values))), low, high, method)
    widened = _widened(reading, values, clusters, alpha)
    if MIN_CLUSTERS_FOR_T <= len(set(clusters)) < len(clusters):
        low, high = korn_graubard_interval(values, clusters, alpha=2 * alpha)
        widened = replace(
            widened,
            low=min(widened.low, low),
            high=max(widened.high, high),
            method=f"{widened.method} and Korn-Graubard",
        )
    return _clipped(widened, 0, 1)


def _widened(
    reading: Reading, values: Sequence[float], clusters: Sequence[str], alpha: float
) -> Reading:
    """Where items share clusters: the wider of the rule for single items and the clustered one."""
    if len(set(clusters)) == len(clusters):
        return reading
    interval, method, too_few = _by_cluster(values, clusters, alpha)
    return Reading(
        reading.estimate,
        min(reading.low, interval.low),
        max(reading.high, interval.high),
        f"{reading.method}; widened to {method}",
        reading.too_few or too_few,
    )


def _by_cluster(
    values: Sequence[float], clusters: Sequence[str], alpha: float
) -> tuple[Interval, str, str | None]:
    groups = len(set(clusters))
    if groups >= MIN_CLUSTERS_FOR_T:
        if groups == len(values):
            return paired_t(values, alpha=2 * alpha)[0], f"t interval, {_level(alpha)}", None
        interval = cluster_interval(values, clusters, alpha=2 * alpha)
        return interval, f"cluster-t (CR1) interval, {_level(alpha)}, {groups} clusters", None
    too_few = None
    if groups < MIN_CLUSTERS:
        too_few = f"{groups} independent groups of items; {MIN_CLUSTERS} are the least"
    interval = sign_flip_interval(values, clusters, alpha=2 * alpha)
    return interval, f"sign-flip interval, {_level(alpha)}, {groups} groups", too_few


def _mean(
    values: Sequence[float],
    clusters: Sequence[str],
    alpha: float,
    reach: float | None,
    *,
    centre: float,
) -> Reading:
    if not values:
        return Reading(0.0, -math.inf, math.inf, "none", "no item has a value")
    interval, method, too_few = _by_cluster(values, clusters, alpha)
    low, high = interval.low, interval.high
    groups = set(clusters)
    moved = len({c for v, c in zip(values, clusters, strict=True) if v != centre})
    if moved < MIN_NONZERO:
        method += f"; only {moved} of {len(groups)} differ from {centre:g}"
        if reach is None:
            too_few = too_few or f"only {moved} items differ from {centre:g}"
        else:
            half = sparse_interval(moved, len(groups), reach, alpha=2 * alpha)
            low, high = min(low, centre - half), max(high, centre + half)
    return Reading(interval.estimate, low, high, method, too_few)


def _ratio(pairs: Sequence[Pair], alpha: float, *, difference: bool) -> Reading:
    """Jackknife over documents: chunks of one document are put together first."""
    documents: dict[str, list[float]] = {}
    for p in pairs:
        sums = documents.setdefault(p.cluster, [0.0, 0.0, 0.0])
        for index, part in enumerate((p.candidate, p.baseline, p.weight)):
            sums[index] += part
    n = len(documents)
    if n < MIN_DOCUMENTS:
        few = f"{n} documents; the jackknife needs {MIN_DOCUMENTS}"
        total = sum(d[2] for d in documents.values())
        change = sum(d[0] - d[1] for d in documents.values())
        estimate = change / total if total > 0 else 0.0
        return Reading(estimate, -math.inf, math.inf, "none", few)
    used, note = (alpha, "") if n >= WIDENED_DOCUMENTS else (alpha / 2, ", widened below 1,000")
    candidate, baseline, weights = (list(part) for part in zip(*documents.values(), strict=True))
    interval = jackknife_ratio_interval(
        candidate, weights, baseline if difference else None, alpha=2 * used
    )
    method = f"delete-one jackknife, {_level(used)}, {n} documents{note}"
    return Reading(interval.estimate, interval.low, interval.high, method)
