"""Judge matched differences by group: must every group's lie within a limit on both sides?

An item of a check of contrasts is one question asked twice, for a group and for its
reference; its value is the group's outcome minus the reference's, in [-1, 1], its cluster
the question's template. Items without a group are the references themselves and are not
judged. PASS takes every group's interval inside [-limit, limit], two one-sided tests a
group and an intersection-union test over groups (Schuirmann 1987; Berger 1982), so a false
PASS stays at alpha without correction. FAIL takes a group whose interval lies beyond the
limit after Holm over the groups that are large enough. The largest minus the smallest
group's mean is never formed: it is positive by construction.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from eval.checks import Check
from eval.compare import Pair, Reading, paired
from eval.policy import MARGIN_REFUSED, Rule
from registry.evidence import Evidence, Item
from registry.verdict import Finding, GroupContrast, Status

MOST_NAMED = 6  # groups that a reason names


def contrast(row: Check, items: Sequence[Item], *, alpha: float) -> Reading:
    """One group's mean difference with alpha (one-sided) on each bound, not signed by better.

    Whole differences, of 0/1 outcomes, are read as matched pairs (Tango), others as numeric
    differences, clusters as for any check. An unscored item widens both bounds: it counts as
    -1 for the lower and as 1 for the upper one.
    """
    scored = [item.value for item in items if item.value is not None]
    if not scored:
        return Reading(0.0, -1.0, 1.0, "none", "no question has a value")
    whole = all(value in {-1, 0, 1} for value in scored)
    rule = dataclasses.replace(
        row, kind="binary" if whole else "numeric", bounds=(0.0, 1.0), higher_is_better=True
    )
    if len(scored) == len(items):
        return paired(rule, _pairs(items, 0.0), alpha=alpha)
    least = paired(rule, _pairs(items, -1.0), alpha=alpha)
    most = paired(rule, _pairs(items, 1.0), alpha=alpha)
    method = f"{least.method}; {len(items) - len(scored)} unscored at their worst"
    estimate = math.fsum(scored) / len(scored)
    return Reading(estimate, least.low, most.high, method, least.too_few or most.too_few)


def _pairs(items: Sequence[Item], unscored: float) -> list[Pair]:
    pairs = []
    for item in sorted(items, key=lambda i: i.key):
        value = unscored if item.value is None else item.value
        pairs.append(Pair(max(value, 0.0), max(-value, 0.0), 1.0, item.cluster or item.key))
    return pairs


def by_group(items: Sequence[Item]) -> dict[str, list[Item]]:
    """The items of each group; references, which have none, are left out."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        if item.group is not None:
            groups.setdefault(item.group, []).append(item)
    return dict(sorted(groups.items()))


def furthest(row: Check, items: Sequence[Item], *, alpha: float) -> Reading:
    """Size of the difference of the group whose interval reaches furthest from 0."""
    readings = [contrast(row, group, alpha=alpha) for group in by_group(items).values()]
    if not readings:
        return Reading(0.0, 0.0, 1.0, "none", "no item has a group")
    return _size(max(readings, key=_reach))


def _reach(reading: Reading) -> float:
    return max(-reading.low, reading.high)


def _size(reading: Reading) -> Reading:
    """Of the absolute difference: its interval is the part of [0, 1] that both sides allow."""
    nearest = max(reading.low, -reading.high, 0.0)
    return dataclasses.replace(
        reading, estimate=abs(reading.estimate), low=nearest, high=_reach(reading)
    )


def beyond(
    row: Check, groups: Mapping[str, Sequence[Item]], limit: float, *, alpha: float
) -> set[str]:
    """Groups that lie beyond the limit with the family-wise error alpha: Holm by intervals.

    With k groups left, those whose interval at alpha / k excludes [-limit, limit] are
    rejected; then the rest at its own k, until none is.
    """
    left, rejected = dict(groups), set[str]()
    while left:
        found = {
            name
            for name, items in left.items()
            if _outside(contrast(row, items, alpha=alpha / len(left)), limit)
        }
        if not found:
            break
        rejected |= found
        left = {name: items for name, items in left.items() if name not in found}
    return rejected


def _outside(reading: Reading, limit: float) -> bool:
    return reading.too_few is None and (reading.low > limit or reading.high < -limit)


def _inside(reading: Reading, limit: float) -> bool:
    return reading.too_few is None and reading.low >= -limit and reading.high <= limit


def judge_contrasts(
    row: Check, items: Sequence[Item], limit: float, *, alpha: float, min_items: int
) -> tuple[GroupContrast, ...]:
    """Every group judged. ``min_items`` scored questions are the least for each."""
    groups = by_group(items)
    few = {
        name: f"too few to say: {scored} scored questions, the policy asks for {min_items}"
        for name, group in groups.items()
        if (scored := sum(item.value is not None for item in group)) < min_items
    }
    judged = {name: group for name, group in groups.items() if name not in few}
    failed = beyond(row, judged, limit, alpha=alpha)
    made = []
    for name, group in groups.items():
        reading = contrast(row, group, alpha=alpha)
        note = few.get(name, reading.too_few)
        status = Status.INCONCLUSIVE
        if name in failed:
            status = Status.FAIL
        elif note is None and _inside(reading, limit):
            status = Status.PASS
        unscored = sum(item.value is None for item in group)
        made.append(
            GroupContrast(
                group=name,
                n=len(group),
                unscored=unscored,
                estimate=reading.estimate if unscored < len(group) else None,
                low=reading.low if math.isfinite(reading.low) else None,
                high=reading.high if math.isfinite(reading.high) else None,
                status=status,
                note=note,
            )
        )
    return tuple(made)


def contrasts_finding(
    rule: Rule, row: Check, candidate: Evidence, baseline: Evidence | None, found: dict[str, Any]
) -> Finding:
    """The entry's finding; ``found`` has what every finding has.

    The baseline's furthest group stands beside and decides nothing: which group is furthest
    may change, and a candidate that mends a biased champion must not be held to its bias.
    """
    groups = by_group(candidate.items)
    found["n"] = sum(map(len, groups.values()))
    problem = None
    if not groups:
        problem = "no item has a group: there is nothing to compare with its reference"
    elif rule.margin is not None:
        problem = MARGIN_REFUSED.format(row.name)
    if problem is not None:
        return Finding(**found, status=Status.INVALID, reason=problem)
    itself = furthest(row, candidate.items, alpha=rule.alpha)
    found |= {"candidate": itself.estimate, "method": itself.method}
    found |= {"limit_low": itself.low, "limit_high": itself.high}
    if baseline is not None and by_group(baseline.items):
        found["baseline"] = furthest(row, baseline.items, alpha=rule.alpha).estimate
    if rule.limit is None:
        found["contrasts"] = ()
        reason = "not judged: watched only"
        return Finding(**found, status=Status.INCONCLUSIVE, reason=reason)
    limit = rule.limit.value
    judged = judge_contrasts(
        row, candidate.items, limit, alpha=rule.alpha, min_items=rule.min_items
    )
    found["contrasts"] = judged
    status, reason = _verdict(judged, limit)
    return Finding(**found, status=status, reason=reason)


def _verdict(judged: Sequence[GroupContrast], limit: float) -> tuple[Status, str]:
    """FAIL before INCONCLUSIVE before PASS, and the groups that it is for."""
    failed = [one for one in judged if one.status is Status.FAIL]
    if failed:
        return (
            Status.FAIL,
            f"beyond {limit:g} after Holm over {_counted(judged)}: {_named(failed)}",
        )
    few = [one for one in judged if one.note is not None]
    wide = [one for one in judged if one.status is Status.INCONCLUSIVE and one.note is None]
    parts = []
    if few:
        parts.append("; ".join(f"{one.group}: {one.note}" for one in few[:MOST_NAMED]))
    if wide:
        parts.append(f"does not exclude more than {limit:g} for {_named(wide)}")
    if parts:
        return Status.INCONCLUSIVE, "; ".join(parts)
    most = max(judged, key=lambda one: max(-(one.low or 0.0), one.high or 0.0))
    return (
        Status.PASS,
        f"{_counted(judged)} within {limit:g} on both sides, the furthest {_named([most])}",
    )


def _counted(judged: Sequence[GroupContrast]) -> str:
    large = sum(one.note is None for one in judged)
    return f"{large} group{'s' if large != 1 else ''}"


def _named(groups: Sequence[GroupContrast]) -> str:
    said = [
        f"{one.group} {one.estimate or 0.0:+.3g} "
        f"[{'-inf' if one.low is None else format(one.low, '+.3g')}, "
        f"{'inf' if one.high is None else format(one.high, '+.3g')}]"
        for one in groups[:MOST_NAMED]
    ]
    more = len(groups) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")
