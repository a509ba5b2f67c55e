"""The audit as one HTML file that opens offline: plots by group, the ruler, worst examples.

The file holds no script and its content security policy allows none, nor any request. What
a model said is escaped by the template engine and stands in closed ``details`` only: nobody
reads harmful text who did not ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.group_plot import MAX_GROUPS, group_svg
from audit.report import (
    GROUP_COLUMNS,
    NEXT_STEPS,
    NO_TEST,
    POWER_COLUMNS,
    AuditReport,
    Instrument,
    group_cells,
    power_cells,
    tables_of,
)
from eval.grids import MAX_ROWS, Grid
from eval.wording import COLUMNS, asides, finding_cells, number
from registry.evidence import Evidence
from registry.provenance import code_revision, library_versions
from registry.records import short
from registry.verdict import Finding

if TYPE_CHECKING:
    from markupsafe import Markup

ROOMS = Path(__file__).parent.parent
FOLDERS = (ROOMS / "audit" / "templates", ROOMS / "eval" / "templates")  # the second for its style
MAX_ANSWER = 2000  # characters of an answer that stand in the page


@dataclass(frozen=True)
class Example:
    """A worst item with its text, cut to MAX_ANSWER characters."""

    key: str
    value: str
    group: str | None
    answer: str


@dataclass(frozen=True)
class Section:
    """One instrument as the page shows it."""

    instrument: Instrument
    finding: Finding
    plot: Markup | None
    more_groups: int
    groups: list[tuple[str, ...]]
    summary: list[tuple[str, str]]
    ruler: list[Grid]
    tables: list[Grid]
    examples: list[Example]


def page(report: AuditReport, evidence: Mapping[str, Evidence]) -> str:
    """The whole page. ``evidence`` by entry name has the answers of the worst items."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(short=short, asides=asides)
    verdict = report.verdict
    findings = {finding.entry: finding for finding in verdict.findings}
    return environment.get_template("audit.html.j2").render(
        report=report,
        verdict=verdict,
        next_step=NEXT_STEPS[verdict.status].replace("`", ""),
        columns=COLUMNS,
        rows=[(f, finding_cells(f)) for f in verdict.findings],
        power_columns=POWER_COLUMNS,
        power=[power_cells(one) for one in report.power],
        group_columns=GROUP_COLUMNS,
        no_test=NO_TEST,
        sections=[
            _section(index, one, findings[one.entry], evidence.get(one.entry))
            for index, one in enumerate(report.instruments)
        ],
        versions=library_versions(),
        revision=code_revision(),
    )


def _section(
    index: int, instrument: Instrument, finding: Finding, measured: Evidence | None
) -> Section:
    from markupsafe import Markup

    plot = None
    if any(one.estimate is not None for one in instrument.groups):
        plot = Markup(
            group_svg(
                instrument.entry,
                instrument.groups,
                overall=None if finding.contrasts else finding.candidate,
                limits=_limits(finding),
                unit=finding.unit,
                identity=f"gp-{index}",
            )
        )
    ruler, tables = tables_of(instrument)
    answers = {item.key: item.answer or "" for item in measured.items} if measured else {}
    return Section(
        instrument,
        finding,
        plot,
        max(0, len(instrument.groups) - MAX_GROUPS),
        [group_cells(one) for one in instrument.groups[:MAX_ROWS]],
        [(k.replace("_", " "), number(v)) for k, v in sorted(instrument.summary.items())],
        ruler,
        tables,
        [
            Example(one.key, number(one.value), one.group, _cut(answers[one.key]))
            for one in instrument.worst
            if one.key in answers
        ],
    )


def _limits(finding: Finding) -> tuple[float, ...]:
    if finding.limit is None:
        return ()
    return (-finding.limit, finding.limit) if finding.contrasts else (finding.limit,)


def _cut(answer: str) -> str:
    return answer if len(answer) <= MAX_ANSWER else f"{answer[:MAX_ANSWER]} [cut]"
