"""An audit's report: what each instrument found, by group, with the ruler's own errors.

``audit_report`` makes the record that `hallmark audit --json` prints; ``markdown`` writes it
for people and job summaries, ``audit.audit_page`` as a page. The record and the Markdown hold
figures and names, never what a model said: answers stand in the page alone, out of sight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from audit.parity import MIN_GROUP
from eval.checks import Check, Kind
from eval.gate import Policy, own
from eval.grids import MAX_CELL, MAX_ROWS, Grid, grids
from eval.wording import COLUMNS, asides, finding_cells, interval, number
from registry.evidence import Evidence, Item
from registry.records import Record, short
from registry.verdict import Finding, GroupContrast, Status, Verdict

ALPHA = 0.025  # one-sided; the intervals of groups are two-sided 95%
NUM_WORST = 5
NO_TEST = (
    "Each interval is of its group alone; whether groups differ is decided by the finding, "
    "never by intervals that do or do not overlap."
)
NEXT_STEPS = {
    Status.PASS: "Every required entry passed. An audit signs nothing: `hallmark gate` uses the "
    "same evidence.",
    Status.FAIL: "Look at the entries that FAIL, at their groups, and at the worst examples; then "
    "at what the ruler gets wrong on neutral text.",
    Status.INCONCLUSIVE: "The items do not decide it: the power beside each entry says how many "
    "would. INCONCLUSIVE is not a pass.",
    Status.INVALID: "The evidence cannot be judged: the reasons say what to mend.",
}


class GroupFigure(Record):
    """A group's own value in the check's unit, with its 95% interval by the gate's rule.

    ``estimate`` is None where no item has a value; ``low`` and ``high`` where ``too_few`` says
    why there is no interval.
    """

    group: str
    items: int
    unscored: int
    estimate: float | None
    low: float | None
    high: float | None
    too_few: str | None = None


class Worst(Record):
    """An item among the most harmful, without its text."""

    key: str
    value: float
    group: str | None


class Instrument(Record):
    """One entry of the suite: its row, its groups, and what the check says beside its items."""

    entry: str
    check: str
    kind: Kind
    zero: str
    source: str
    evidence_digest: str | None
    config_digest: str | None
    seconds: float | None
    groups: tuple[GroupFigure, ...]
    worst: tuple[Worst, ...]
    summary: dict[str, float | None]
    tables: dict[str, Any]


class Power(Record):
    """What an entry's number of items can decide; None where nothing was assumed or measured."""

    entry: str
    items: int
    needed: int | None
    smallest_margin: float | None
    power: float | None
    note: str


class LeftOut(Record):
    """An entry that blocks nothing and was not measured, and what it needs."""

    entry: str
    needs: str


class AuditReport(Record):
    """A whole audit. ``verdict`` is unsigned and in no ledger: an audit is not a gate."""

    schema_version: Literal[1] = 1
    checkpoint: str
    suite: str
    verdict: Verdict
    instruments: tuple[Instrument, ...]
    power: tuple[Power, ...]
    left_out: tuple[LeftOut, ...]


def audit_report(
    policy: Policy,
    verdict: Verdict,
    evidence: Mapping[str, Evidence],
    *,
    checkpoint: str,
    power: Iterable[Power] = (),
    left_out: Iterable[LeftOut] = (),
) -> AuditReport:
    """The record of an audit. ``evidence`` is the candidate's, by entry name."""
    return AuditReport(
        checkpoint=checkpoint,
        suite=policy.name,
        verdict=verdict,
        instruments=tuple(
            _instrument(entry.row, finding, evidence.get(entry.name))
            for entry, finding in zip(policy.entries, verdict.findings, strict=True)
        ),
        power=tuple(power),
        left_out=tuple(left_out),
    )


def _instrument(row: Check, finding: Finding, measured: Evidence | None) -> Instrument:
    items = measured.items if measured else ()
    groups = contrast_figures(finding.contrasts) if finding.contrasts else group_figures(row, items)
    return Instrument(
        entry=finding.entry,
        check=row.name,
        kind=row.kind,
        zero=row.zero,
        source=row.source,
        evidence_digest=measured.digest if measured else None,
        config_digest=measured.config_digest if measured else None,
        seconds=measured.seconds if measured else None,
        groups=tuple(groups),
        worst=tuple(
            Worst(key=item.key, value=item.value, group=item.group)
            for item in worst_items(row, items)
            if item.value is not None
        ),
        summary=dict(measured.summary) if measured else {},
        tables=dict(measured.tables) if measured else {},
    )


def figure(row: Check, name: str, items: Sequence[Item]) -> GroupFigure:
    """The value of these items by the rule that the gate reads the whole check by.

    There is no interval below ``MIN_GROUP`` scored items, nor where the rule itself finds too
    few independent ones: that is "too few to say".
    """
    scored = [item.value for item in items if item.value is not None]
    sizes = {"items": len(items), "unscored": len(items) - len(scored)}
    if len(scored) < MIN_GROUP:
        mean = math.fsum(scored) / len(scored) if scored and row.kind != "bits_per_byte" else None
        few = f"too few to say: {len(scored)} of at least {MIN_GROUP} items"
        return GroupFigure(group=name, estimate=mean, low=None, high=None, too_few=few, **sizes)
    reading = own(row, items, alpha=ALPHA)
    known = reading.too_few is None and math.isfinite(reading.low) and math.isfinite(reading.high)
    return GroupFigure(
        group=name,
        estimate=reading.estimate,
        low=reading.low if known else None,
        high=reading.high if known else None,
        too_few=None if known else f"too few to say: {reading.too_few or 'no finite interval'}",
        **sizes,
    )


def group_figures(row: Check, items: Sequence[Item]) -> list[GroupFigure]:
    """A figure for each group, the worst first; nothing where items have fewer than two."""
    names = sorted({item.group for item in items if item.group is not None})
    if len(names) < 2:
        return []
    figures = [figure(row, name, [i for i in items if i.group == name]) for name in names]
    sign = 1 if row.higher_is_better else -1
    return sorted(
        figures,
        key=lambda f: (f.estimate is None, f.too_few is not None, sign * (f.estimate or 0.0)),
    )


def contrast_figures(contrasts: Sequence[GroupContrast]) -> list[GroupFigure]:
    """Each group's difference from its reference as it was judged, the largest first."""
    figures = [
        GroupFigure(
            group=one.group,
            items=one.n,
            unscored=one.unscored,
            estimate=one.estimate,
            low=None if one.note else one.low,
            high=None if one.note else one.high,
            too_few=one.note,
        )
        for one in contrasts
    ]
    return sorted(figures, key=lambda f: (f.too_few is not None, -abs(f.estimate or 0.0)))


def worst_items(row: Check, items: Sequence[Item], num: int = NUM_WORST) -> list[Item]:
    """The most harmful items that have an answer. Of 0 and 1, only the harmful ones count."""
    answered = [item for item in items if item.answer is not None and item.value is not None]
    sign = 1 if row.higher_is_better else -1
    if row.kind in {"binary", "rare_harm"}:
        harmful = 0.0 if row.higher_is_better else 1.0
        answered = [item for item in answered if item.value == harmful]
    if row.kind == "contrasts":  # a difference harms whichever way it goes
        moved = [item for item in answered if item.value]
        return sorted(moved, key=lambda item: (-abs(item.value or 0.0), item.key))[:num]
    return sorted(answered, key=lambda item: (sign * (item.value or 0.0), item.key))[:num]


def tables_of(instrument: Instrument) -> tuple[list[Grid], list[Grid]]:
    """(the ruler's own tables, the check's other tables), laid out."""
    ruler = [g for n, t in instrument.tables.items() if is_ruler(n) for g in grids(n, t)]
    rest = [g for n, t in sorted(instrument.tables.items()) if not is_ruler(n) for g in grids(n, t)]
    return ruler, rest


def is_ruler(name: str) -> bool:
    """Whether a check's table is about the scorer's errors, not about the checkpoint."""
    return name == "ruler" or name.startswith("ruler_")


def compared_with(report: AuditReport) -> str:
    """What the findings' changes are against, in words."""
    verdict = report.verdict
    if verdict.baseline_digest is None:
        return "absolute limits alone"
    return f"{verdict.against} `{short(verdict.baseline_digest)}`"


def markdown(report: AuditReport) -> str:
    """The report, fit for a job summary: no text of a model is in it."""
    verdict = report.verdict
    findings = {finding.entry: finding for finding in verdict.findings}
    lines = [
        f"# Audit {verdict.status}: {_cell(report.checkpoint)} "
        f"`{short(verdict.candidate_digest)}` against {compared_with(report)}",
        "",
        f"Suite {_cell(report.suite)} `{short(verdict.policy_digest)}`, "
        f"{verdict.created_at:%Y-%m-%d %H:%M} UTC. Changes are candidate minus baseline, signed "
        "so that higher is better. Nothing was signed: an audit is not a gate.",
        "",
        *_table(COLUMNS, [_marked(finding_cells(f)) for f in verdict.findings]),
    ]
    if verdict.reasons:
        lines += ["", "## Why", "", *(f"- {_cell(reason)}" for reason in verdict.reasons)]
    if report.left_out:
        lines += ["", "## Not measured", ""]
        lines += [f"- {_cell(one.entry)}: {_cell(one.needs)}" for one in report.left_out]
    lines += ["", "## Where to look next", "", NEXT_STEPS[verdict.status]]
    if report.power:
        lines += ["", "## What these sizes can decide", ""]
        lines += _table(POWER_COLUMNS, [power_cells(one) for one in report.power])
    for instrument in report.instruments:
        lines += _section(instrument, findings[instrument.entry])
    return "\n".join(lines) + "\n"


POWER_COLUMNS = ("entry", "items", "needed", "smallest margin", "power", "rests on")
GROUP_COLUMNS = ("group", "items", "unscored", "value", "95% interval")


def power_cells(one: Power) -> tuple[str, ...]:
    needed = "-" if one.needed is None else str(one.needed)
    margin, power = number(one.smallest_margin), number(one.power)
    return one.entry, str(one.items), needed, margin, power, one.note


def group_cells(one: GroupFigure) -> tuple[str, ...]:
    bounds = one.too_few or interval(one.low, one.high)
    name = one.group[:MAX_CELL]
    return name, str(one.items), str(one.unscored), number(one.estimate), bounds


def _section(instrument: Instrument, finding: Finding) -> list[str]:
    lines = ["", f"## {instrument.entry}: {finding.label}", "", f"{_cell(finding.reason)}."]
    lines += ["", f"Zero means: {_cell(instrument.zero)}. Source: {_cell(instrument.source)}."]
    for sentence in (finding.method, *asides(finding)):
        lines += ["", f"{_cell(sentence).removesuffix('.')}."] if sentence else []
    if instrument.groups:
        lines += ["", f"### {instrument.entry} by group, {finding.unit}", ""]
        lines += _table(GROUP_COLUMNS, [group_cells(one) for one in instrument.groups[:MAX_ROWS]])
        lines += ["", NO_TEST]
    if instrument.summary:
        pairs = (f"{k} {number(v)}" for k, v in sorted(instrument.summary.items()))
        lines += ["", f"Beside it, not judged: {_cell(', '.join(pairs))}."]
    ruler, rest = tables_of(instrument)
    if ruler:
        lines += ["", f"### The ruler of {instrument.entry}: the scorer's own errors"]
        lines += [line for grid in ruler for line in _grid(grid)]
    return lines + [line for grid in rest for line in _grid(grid)]


def _grid(grid: Grid) -> list[str]:
    lines = ["", f"#### {_cell(grid.title)}"]
    for sentence in grid.sentences:
        lines += ["", _cell(sentence)]
    if grid.columns:
        lines += ["", *_table(grid.columns, grid.rows)]
    if grid.more:
        lines += ["", f"{grid.more} more rows are in the evidence."]
    return lines


def _marked(cells: Sequence[str]) -> tuple[str, ...]:
    return (*cells[:2], f"**{cells[2]}**", *cells[3:])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(_cell, columns))} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(text: str) -> str:
    """Text that cannot break a table or a page."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
