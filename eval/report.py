"""A verdict for people and for CI: JSON, Markdown, JUnit XML and a forest plot.

Reports hold numbers, names and reasons. They never hold what a model said or was
asked: audit items are hateful by design, and customers' words are not ours to print.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.forest import forest_svg
from registry.evidence import Evidence
from registry.records import short, write_atomically
from registry.verdict import Finding, Status, Verdict

MAX_CELL = 40  # longer strings in a check's table may be texts and are left out
MAX_ROWS = 40
MAX_NOTE = 300

NEXT_STEPS = {
    Status.PASS: "Every required entry passed. `hallmark promote` moves the alias.",
    Status.FAIL: "Look at the entries that FAIL, then at the groups that lost most. A margin is "
    "widened in the policy, with a reason, by its owner; never for one candidate.",
    Status.INCONCLUSIVE: "The items do not decide it: `hallmark plan` says how many would. "
    "INCONCLUSIVE is not a pass.",
    Status.INVALID: "The evidence is not comparable or not there: the reasons say what to "
    "measure again.",
}


def write_reports(
    verdict: Verdict,
    candidate: Mapping[str, Evidence],
    baseline: Mapping[str, Evidence] | None,
    folder: Path,
) -> dict[str, Path]:
    """Write ``verdict.json``, ``report.md``, ``junit.xml`` and ``forest.svg``; paths by name."""
    contents = {
        "verdict.json": verdict.model_dump_json(indent=2) + "\n",
        "report.md": markdown(verdict, candidate, baseline),
        "junit.xml": junit(verdict),
        "forest.svg": forest_svg(verdict.findings),
    }
    paths = {}
    for name, text in contents.items():
        paths[name] = folder / name
        write_atomically(paths[name], text.encode())
    return paths


def markdown(
    verdict: Verdict, candidate: Mapping[str, Evidence], baseline: Mapping[str, Evidence] | None
) -> str:
    """The report, fit for a job summary."""
    against = (
        f"{verdict.against} `{short(verdict.baseline_digest)}`"
        if verdict.baseline_digest
        else f"absolute limits alone (there is no {verdict.against})"
    )
    lines = [
        f"# {verdict.status}: `{short(verdict.candidate_digest)}` against {against}",
        "",
        f"Policy {verdict.policy_name} `{short(verdict.policy_digest)}`, "
        f"{verdict.created_at:%Y-%m-%d %H:%M} UTC. Changes are candidate minus baseline, "
        "signed so that higher is better.",
        "",
        "| entry | tier | finding | candidate | baseline | change | margin | own value "
        "| limit | n | unscored |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(f) for f in verdict.findings]
    if verdict.reasons:
        lines += ["", "## Why", "", *(f"- {_cell(reason)}" for reason in verdict.reasons)]
    lines += ["", "## Where to look next", "", NEXT_STEPS[verdict.status]]
    for finding in verdict.findings:
        lines += _section(finding, candidate.get(finding.entry), (baseline or {}))
    return "\n".join(lines) + "\n"


def _row(f: Finding) -> str:
    cells = [
        f.entry,
        f.tier,
        f"**{f.status}**",
        f"{number(f.candidate)} {f.unit}" if f.candidate is not None else "-",
        number(f.baseline),
        f"{number(f.estimate, signed=True)} {_interval(f.low, f.high, signed=True)}"
        if f.estimate is not None
        else "-",
        number(f.margin),
        _interval(f.limit_low, f.limit_high) if f.candidate is not None else "-",
        _limit(f),
        str(f.n),
        str(f.unscored),
    ]
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _limit(f: Finding) -> str:
    if f.limit is None:
        return "-"
    return f"{'at least' if f.higher_is_better else 'at most'} {number(f.limit)}"


def _section(f: Finding, candidate: Evidence | None, baseline: Mapping[str, Evidence]) -> list[str]:
    lines = ["", f"## {f.entry}: {f.status}", "", f"{_cell(f.reason)}."]
    if f.method:
        lines += ["", f"{_cell(f.method)}."]
    if candidate is None:
        return lines
    before = baseline.get(f.entry)
    if before is not None and f.estimate is not None:
        lines += ["", _flips(f, candidate, before)]
        lines += _groups(f, candidate, before)
    if candidate.summary:
        pairs = (f"{k} {number(v)}" for k, v in sorted(candidate.summary.items()))
        lines += ["", f"Beside it, not judged: {_cell(', '.join(pairs))}."]
    for name, table in sorted(candidate.tables.items()):
        lines += table_lines(name, table)
    return lines


def changes(f: Finding, candidate: Evidence, baseline: Evidence) -> dict[str, float]:
    """Each item's change, higher better, for items with a value on both sides."""
    before = {item.key: item.value for item in baseline.items}
    sign = 1 if f.higher_is_better else -1
    found = {}
    for item in candidate.items:
        old = before.get(item.key)
        if item.value is not None and old is not None:
            found[item.key] = sign * (item.value - old)
    return found


def _flips(f: Finding, candidate: Evidence, baseline: Evidence) -> str:
    moved = changes(f, candidate, baseline).values()
    won, lost = sum(c > 0 for c in moved), sum(c < 0 for c in moved)
    return f"Items: {won} better, {lost} worse, {len(moved) - won - lost} the same."


def _groups(f: Finding, candidate: Evidence, baseline: Evidence) -> list[str]:
    """The groups that changed by their mean change, the worst first; nothing for one group."""
    moved = changes(f, candidate, baseline)
    groups: dict[str, list[float]] = {}
    for item in candidate.items:
        if item.group is not None and item.key in moved:
            groups.setdefault(item.group, []).append(moved[item.key])
    means = sorted((math.fsum(v) / len(v), name, len(v)) for name, v in groups.items() if any(v))
    if len(groups) < 2 or not means:
        return []
    lines = ["", "| group that changed | items | mean change |", "|---|---|---|"]
    lines += [f"| {_cell(n[:MAX_CELL])} | {k} | {m:+.4g} |" for m, n, k in means[:MAX_ROWS]]
    return [*lines, "", "Groups are small samples: read this to find the cause, not to decide."]


def table_lines(name: str, table: Any) -> list[str]:
    """A check's own table: a list of rows, rows by name, or figures with tables among them.

    Long strings are left out; sentences about the figures stand under ``note``.
    """
    title = ["", f"### {_cell(name.replace('_', ' '))}"]
    if isinstance(table, list | tuple):
        lines = _grid([row for row in table if isinstance(row, Mapping)])
        return title + lines if lines else []
    if not isinstance(table, Mapping) or not table:
        return []
    if all(isinstance(value, Mapping) for value in table.values()):
        lines = _grid([{"": key, **row} for key, row in table.items()])
        return title + lines if lines else []
    figures = [
        f"{_cell(str(key).replace('_', ' '))}: {_value(value)}"
        for key, value in table.items()
        if _is_short(value)
    ]
    lines = ["", "; ".join(figures)] if figures else []
    note = table.get("note")
    if isinstance(note, str) and not _is_short(note):
        lines += ["", f"{_cell(note[:MAX_NOTE])}."]
    for key, value in table.items():
        if isinstance(value, Mapping | list | tuple):
            lines += table_lines(f"{name}: {key}", value)
    return title + lines if lines else []


def _grid(rows: list[Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    shown = [c for c in columns if all(_is_short(row.get(c)) for row in rows)]
    if not rows or not shown:
        return []
    lines = ["", f"| {' | '.join(map(_cell, shown))} |", "|" + "---|" * len(shown)]
    for row in rows[:MAX_ROWS]:
        lines.append(f"| {' | '.join(_value(row.get(c)) for c in shown)} |")
    if len(rows) > MAX_ROWS:
        lines += ["", f"{len(rows) - MAX_ROWS} more rows are in the evidence."]
    return lines


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_CELL
    return value is None or isinstance(value, int | float)


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _cell("-" if value is None else str(value))
    return number(float(value))


def number(value: float | None, *, signed: bool = False) -> str:
    """Four significant digits, all of a large number's; ``-`` for a value that is not there."""
    if value is None:
        return "-"
    if abs(value) >= 10_000:
        return f"{value:+,.0f}" if signed else f"{value:,.0f}"
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def _interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    return (
        f"[{'-inf' if low is None else number(low, signed=signed)}, "
        f"{'inf' if high is None else number(high, signed=signed)}]"
    )


def _cell(text: str) -> str:
    """Text that cannot break a table or a page."""
    flat = " ".join(text.split())
    return flat.replace("|", "\\|").replace("<", "&lt;")


def junit(verdict: Verdict) -> str:
    """One test case for each entry. Required: FAIL is a failure, INCONCLUSIVE and INVALID are
    errors. Advisory and watched ones are skipped unless they PASS: they block nothing."""
    suite = ET.Element("testsuite", name=f"hallmark gate {verdict.policy_name}")
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    broken = [
        r for r in verdict.reasons if not any(r.startswith(f.entry) for f in verdict.findings)
    ]
    for f in verdict.findings:
        counts["tests"] += 1
        case = ET.SubElement(
            suite, "testcase", classname=f"hallmark.{verdict.policy_name}", name=f.entry, time="0"
        )
        if f.status is not Status.PASS:
            kind, count = _junit_kind(f)
            ET.SubElement(case, kind, message=_printable(f"{f.status}: {f.reason}"))
            counts[count] += 1
        out = ET.SubElement(case, "system-out")
        out.text = (
            f"{f.tier} {f.status} candidate={number(f.candidate)} baseline={number(f.baseline)} "
            f"change={number(f.estimate)} {_interval(f.low, f.high)} margin={number(f.margin)} "
            f"limit={number(f.limit)} n={f.n} unscored={f.unscored}"
        )
    for reason in broken:
        counts["tests"] += 1
        counts["errors"] += 1
        case = ET.SubElement(suite, "testcase", classname="hallmark", name="verdict", time="0")
        ET.SubElement(case, "error", message=_printable(f"{verdict.status}: {reason}"))
    for name, value in counts.items():
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
