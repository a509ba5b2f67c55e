"""A verdict for people and for CI: JSON, Markdown, JUnit XML, HTML and a forest plot.

JSON, Markdown, JUnit and the plot hold numbers, names and reasons, never what a model said
or was asked: they go into job summaries and comments. Answers side by side stand in
``report.html`` and ``flips.jsonl`` alone, and there only of checks that may show them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection
from pathlib import Path

from eval.flips import Sides, counts, flips, group_changes, is_compared
from eval.forest import forest_svg
from eval.grids import MAX_CELL, MAX_ROWS, Grid, grids
from eval.html_report import html
from eval.wording import (
    COLUMNS,
    NEXT_STEPS,
    asides,
    compared_with,
    contrast_table,
    finding_cells,
    interval,
    number,
)
from registry.records import short, write_atomically
from registry.verdict import Finding, Status, Verdict


def write_reports(
    verdict: Verdict,
    candidate: Sides,
    baseline: Sides | None,
    folder: Path,
    *,
    shows: Collection[str] = (),
) -> dict[str, Path]:
    """Write ``verdict.json``, ``report.md``, ``report.html``, ``flips.jsonl``, ``junit.xml`` and
    ``forest.svg``; paths by name. ``shows`` names the checks whose answers may be shown."""
    lost_and_won = flips(verdict.findings, candidate, baseline or {}, shows)
    contents = {
        "verdict.json": verdict.model_dump_json(indent=2) + "\n",
        "report.md": markdown(verdict, candidate, baseline),
        "report.html": html(verdict, candidate, baseline or {}, lost_and_won),
        "flips.jsonl": "".join(
            flip.model_dump_json() + "\n" for entry in lost_and_won.values() for flip in entry
        ),
        "junit.xml": junit(verdict),
        "forest.svg": forest_svg(verdict.findings),
    }
    paths = {}
    for name, text in contents.items():
        paths[name] = folder / name
        write_atomically(paths[name], text.encode())
    return paths


def markdown(verdict: Verdict, candidate: Sides, baseline: Sides | None) -> str:
    """The report, fit for a job summary."""
    against, digest = compared_with(verdict)
    lines = [
        f"# {verdict.status}: `{short(verdict.candidate_digest)}` against {against}"
        + (f" `{digest}`" if digest else ""),
        "",
        f"Policy {verdict.policy_name} `{short(verdict.policy_digest)}`, "
        f"{verdict.created_at:%Y-%m-%d %H:%M} UTC. Changes are candidate minus baseline, "
        "signed so that higher is better.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
    ]
    lines += [_row(f) for f in verdict.findings]
    if verdict.reasons:
        lines += ["", "## Why", "", *(f"- {_cell(reason)}" for reason in verdict.reasons)]
    lines += ["", "## Where to look next", "", NEXT_STEPS[verdict.status]]
    for finding in verdict.findings:
        lines += _section(finding, candidate, baseline or {})
    return "\n".join(lines) + "\n"


def _row(f: Finding) -> str:
    cells = list(finding_cells(f))
    cells[2] = f"**{cells[2]}**"
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _section(f: Finding, candidate: Sides, baseline: Sides) -> list[str]:
    lines = ["", f"## {f.entry}: {f.label}", "", f"{_cell(f.reason)}."]
    if f.method:
        lines += ["", f"{_cell(f.method)}."]
    for sentence in asides(f):
        lines += ["", _cell(sentence)]
    measured = candidate.get(f.entry)
    if measured is None:
        return lines
    if is_compared(f, candidate, baseline):
        won, lost, same = counts(f, candidate, baseline)
        lines += ["", f"Items: {won} better, {lost} worse, {same} the same."]
        lines += _groups(f, candidate, baseline)
    lines += table_lines("groups against their reference", contrast_table(f))
    if measured.summary:
        pairs = (f"{k} {number(v)}" for k, v in sorted(measured.summary.items()))
        lines += ["", f"Beside it, not judged: {_cell(', '.join(pairs))}."]
    for name, table in sorted(measured.tables.items()):
        lines += table_lines(name, table)
    return lines


def _groups(f: Finding, candidate: Sides, baseline: Sides) -> list[str]:
    """The groups that changed by their mean change, the worst first; nothing for one group."""
    moved = group_changes(f, candidate, baseline)
    if not moved:
        return []
    lines = ["", "| group that changed | items | mean change |", "|---|---|---|"]
    lines += [
        f"| {_cell(g.group[:MAX_CELL])} | {g.items} | {g.change:+.4g} |" for g in moved[:MAX_ROWS]
    ]
    return [*lines, "", "Groups are small samples: read this to find the cause, not to decide."]


def table_lines(name: str, table: object) -> list[str]:
    """A check's own table in Markdown; nothing for what is no table."""
    return [line for grid in grids(name, table) for line in _grid(grid)]


def _grid(grid: Grid) -> list[str]:
    lines = ["", f"### {_cell(grid.title)}"]
    for sentence in grid.sentences:
        lines += ["", _cell(sentence)]
    if grid.columns:
        lines += [
            "",
            f"| {' | '.join(map(_cell, grid.columns))} |",
            "|" + "---|" * len(grid.columns),
        ]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in grid.rows]
    if grid.more:
        lines += ["", f"{grid.more} more rows are in the evidence."]
    return lines


def _cell(text: str) -> str:
    """Text that cannot break a table or a page."""
    flat = " ".join(text.split())
    return flat.replace("|", "\\|").replace("<", "&lt;")


def junit(verdict: Verdict) -> str:
    """One test case for each entry. Required: FAIL is a failure, INCONCLUSIVE and INVALID are
    errors. Advisory and watched ones are skipped unless they PASS: they block nothing."""
    suite = ET.Element("testsuite", name=f"hallmark gate {verdict.policy_name}")
    counted = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for f in verdict.findings:
        counted["tests"] += 1
        case = ET.SubElement(
            suite, "testcase", classname=f"hallmark.{verdict.policy_name}", name=f.entry, time="0"
        )
        if f.status is not Status.PASS:
            kind, count = _junit_kind(f)
            said = f.reason if f.reason.startswith(f.label) else f"{f.label}: {f.reason}"
            ET.SubElement(case, kind, message=_printable(said))
            counted[count] += 1
        out = ET.SubElement(case, "system-out")
        out.text = (
            f"{f.tier} {f.status} candidate={number(f.candidate)} baseline={number(f.baseline)} "
            f"change={number(f.estimate)} {interval(f.low, f.high)} margin={number(f.margin)} "
            f"limit={number(f.limit)} n={f.n} unscored={f.unscored}"
        )
    for reason in verdict.of_no_entry:
        counted["tests"] += 1
        counted["errors"] += 1
        case = ET.SubElement(suite, "testcase", classname="hallmark", name="verdict", time="0")
        ET.SubElement(case, "error", message=_printable(f"{verdict.status}: {reason}"))
    for name, value in counted.items():
        suite.set(name, str(value))
    suite.set("time", "0")
    suite.set("timestamp", verdict.created_at.strftime("%Y-%m-%dT%H:%M:%S"))
    root = ET.Element("testsuites", {"name": "hallmark gate"})
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _printable(text: str) -> str:
    """Without control characters, which no XML 1.0 document may hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def _junit_kind(f: Finding) -> tuple[str, str]:
    if f.tier != "required":
        return "skipped", "skipped"
    return ("failure", "failures") if f.status is Status.FAIL else ("error", "errors")
