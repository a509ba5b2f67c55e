"""Which items the candidate lost and won against the baseline, and what both answered.

Answers are in it only for checks whose row says so (``eval.checks.Check.shows_answers``):
what an audit asked, and what a model answered to it, stays in the evidence. An answer
that an audit found harmful is withheld from every other check over the same questions too.
Questions are left out: they are customers' words, and the item's key finds them in the
check's data file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from registry.evidence import Evidence, Item
from registry.records import Record
from registry.verdict import Finding

Sides = Mapping[str, Evidence]  # by entry name


class Flip(Record):
    """One item whose value changed. Values are in the check's unit (bits per byte for items
    with a weight); ``change`` is candidate minus baseline, signed so that higher is better.

    ``withheld`` says why answers that there are do not stand here; None where they do, or
    where the check has none. An audit's cluster may be its template's text and is left out.
    """

    entry: str
    key: str
    change: float
    candidate: float
    baseline: float
    group: str | None = None
    cluster: str | None = None
    candidate_answer: str | None = None
    baseline_answer: str | None = None
    withheld: Literal["of an audit", "found harmful by an audit"] | None = None


class GroupChange(Record):
    """One group's mean change over ``items`` items, in the check's unit, higher better; for
    items with a weight the change of the ratio of sums."""

    group: str
    items: int
    change: float


class Harmful:
    """The answers of one side that an audit found harmful, by text and by item key."""

    def __init__(self, findings: Sequence[Finding], side: Sides, shows: Collection[str]) -> None:
        marked = [
            item
            for finding in findings
            if finding.check not in shows and not finding.higher_is_better
            if finding.contrasts is None  # a group's difference says nothing of one answer
            if (evidence := side.get(finding.entry)) is not None
            for item in evidence.items
            if item.answer is not None and (item.value or 0.0) > 0
        ]
        self._texts = {item.answer for item in marked}
        self._keys = {item.key for item in marked}

    def __contains__(self, item: Item) -> bool:
        return item.answer in self._texts or (item.answer is not None and item.key in self._keys)


def flips(
    findings: Sequence[Finding], candidate: Sides, baseline: Sides, shows: Collection[str]
) -> dict[str, list[Flip]]:
    """Per compared entry the items that changed, the most changed first, losses before wins.

    ``shows`` names the checks whose answers may be shown. Entries without a computed change
    (not compared, or not comparable) are left out; one where nothing changed is empty.
    """
    harmful = (Harmful(findings, candidate, shows), Harmful(findings, baseline, shows))
    found = {}
    for finding in findings:
        pairs = list(changed(finding, candidate, baseline))
        if pairs or is_compared(finding, candidate, baseline):
            made = [_flip(finding, new, old, harmful, shows) for new, old in pairs]
            found[finding.entry] = sorted(made, key=lambda f: (-abs(f.change), f.change, f.key))
    return found


def is_compared(finding: Finding, candidate: Sides, baseline: Sides) -> bool:
    """Whether the judge computed a change, and both sides' items are here to show it."""
    return finding.estimate is not None and finding.entry in candidate and finding.entry in baseline


def paired(finding: Finding, candidate: Sides, baseline: Sides) -> Iterator[tuple[Item, Item]]:
    """(candidate's item, baseline's item) with a value on both sides, in evidence order."""
    if not is_compared(finding, candidate, baseline):
        return
    before = {item.key: item for item in baseline[finding.entry].items}
    for item in candidate[finding.entry].items:
        old = before.get(item.key)
        if old is not None and item.value is not None and old.value is not None:
            yield item, old


def changed(finding: Finding, candidate: Sides, baseline: Sides) -> Iterator[tuple[Item, Item]]:
    """Those of ``paired`` whose values differ."""
    for new, old in paired(finding, candidate, baseline):
        if new.value != old.value:
            yield new, old


def counts(finding: Finding, candidate: Sides, baseline: Sides) -> tuple[int, int, int]:
    """How many items are better, worse and the same."""
    moved = [_change(finding, *pair) for pair in paired(finding, candidate, baseline)]
    won, lost = sum(c > 0 for c in moved), sum(c < 0 for c in moved)
    return won, lost, len(moved) - won - lost


def group_changes(finding: Finding, candidate: Sides, baseline: Sides) -> list[GroupChange]:
    """The groups in which an item changed, the worst first; empty for fewer than two groups."""
    groups: dict[str, list[tuple[Item, Item]]] = {}
    for new, old in paired(finding, candidate, baseline):
        if new.group is not None:
            groups.setdefault(new.group, []).append((new, old))
    if len(groups) < 2:
        return []
    made = [
        GroupChange(group=group, items=len(pairs), change=_mean_change(finding, pairs))
        for group, pairs in groups.items()
        if any(new.value != old.value for new, old in pairs)
    ]
    return sorted(made, key=lambda g: (g.change, g.group))


def _flip(
    finding: Finding, new: Item, old: Item, harmful: tuple[Harmful, Harmful], shows: Collection[str]
) -> Flip:
    withheld: Literal["of an audit", "found harmful by an audit"] | None = None
    open_to_all = finding.check in shows
    if new.answer is not None or old.answer is not None:
        if not open_to_all:
            withheld = "of an audit"
        elif new in harmful[0] or old in harmful[1]:
            withheld = "found harmful by an audit"
    told = open_to_all and withheld is None
    return Flip(
        entry=finding.entry,
        key=new.key,
        change=_change(finding, new, old),
        candidate=_value(new),
        baseline=_value(old),
        group=new.group,
        cluster=new.cluster if open_to_all else None,
        candidate_answer=new.answer if told else None,
        baseline_answer=old.answer if told else None,
        withheld=withheld,
    )


def _value(item: Item) -> float:
    assert item.value is not None
    return item.value if item.weight is None else item.value / item.weight


def _change(finding: Finding, new: Item, old: Item) -> float:
    change = _value(new) - _value(old)
    return change if finding.higher_is_better else -change


def _mean_change(finding: Finding, pairs: Sequence[tuple[Item, Item]]) -> float:
    if any(new.weight is None for new, _ in pairs):
        return sum(_change(finding, *pair) for pair in pairs) / len(pairs)
    total = sum((new.value or 0.0) - (old.value or 0.0) for new, old in pairs)
    ratio = total / sum(new.weight or 0.0 for new, _ in pairs)
    return ratio if finding.higher_is_better else -ratio
