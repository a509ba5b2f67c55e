"""The report as one HTML file that opens offline: plots, findings, flips, provenance.

Everything is in the file; its content security policy forbids every request and every
script but its own, by digest. All texts are escaped by the template engine: answers are
written by models, which may write markup.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.domains import MAX_DOMAINS, Domain, domains, domains_svg
from eval.flips import Flip, GroupChange, Sides, counts, group_changes, is_compared
from eval.forest import forest_svg
from eval.grids import MAX_CELL, MAX_ROWS, Grid, grids
from eval.wording import (
    COLUMNS,
    NEXT_STEPS,
    asides,
    compared_with,
    contrast_table,
    finding_cells,
    number,
)
from registry.provenance import code_revision, library_versions
from registry.records import short
from registry.verdict import Finding, Verdict

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
MAX_EACH_WAY = 100  # flips shown per entry that were lost, and as many that were won
MAX_COMPARED_WORDS = 400  # of an answer; longer ones stand side by side without marks

Marked = tuple[tuple[str, bool], ...]
"""A text in pieces, each with whether the other side's text lacks it."""


@dataclass(frozen=True)
class Section:
    """What the page says of one finding beyond its row."""

    finding: Finding
    counts: tuple[int, int, int] | None
    groups: list[GroupChange]
    summary: list[tuple[str, str]]
    grids: list[Grid]


@dataclass(frozen=True)
class Plot:
    """The domains of one bits-per-byte entry, as an image and as a table."""

    entry: str
    svg: Markup
    domains: list[Domain]
    more: int


@dataclass(frozen=True)
class ShownFlip:
    """A flip with the words of its two answers marked where they differ."""

    flip: Flip
    candidate: Marked | None
    baseline: Marked | None


@dataclass(frozen=True)
class ShownFlips:
    """An entry's flips: how many there are, and those that stand in the page."""

    entry: str
    total: int
    shown: list[ShownFlip]


def html(
    verdict: Verdict, candidate: Sides, baseline: Sides, flips: Mapping[str, Sequence[Flip]]
) -> str:
    """The whole page. ``flips`` by entry holds only answers that may be shown."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(number=number, short=short, asides=asides)
    environment.filters["code"] = _code
    against, against_digest = compared_with(verdict)
    return environment.get_template("report.html.j2").render(
        verdict=verdict,
        against=against,
        against_digest=against_digest,
        next_steps=NEXT_STEPS[verdict.status],
        columns=COLUMNS,
        rows=[(f, finding_cells(f)) for f in verdict.findings],
        forest=Markup(forest_svg(verdict.findings)),
        plots=_plots(verdict, candidate, baseline),
        sections=[_section(f, candidate, baseline) for f in verdict.findings],
        flips=[_chosen(entry, found) for entry, found in flips.items()],
        max_each_way=MAX_EACH_WAY,
        max_cell=MAX_CELL,
        max_rows=MAX_ROWS,
        facts=_facts(verdict, candidate, baseline),
        versions=library_versions(),
        revision=code_revision(),
        script=Markup(script),
        script_digest=digest,
    )


def _code(text: str) -> Any:
    """Text with `commands` between backticks set as code."""
    from markupsafe import Markup, escape

    pieces = [escape(piece) for piece in text.split("`")]
    marked = [Markup("<code>%s</code>") % p if i % 2 else p for i, p in enumerate(pieces)]
    return Markup("").join(marked)


def _plots(verdict: Verdict, candidate: Sides, baseline: Sides) -> list[Plot]:
    """One plot for each entry whose items carry a weight: their ratio is bits per byte."""
    from markupsafe import Markup

    made = []
    for index, finding in enumerate(verdict.findings):
        measured = candidate.get(finding.entry)
        if measured is None or not any(item.weight for item in measured.items):
            continue
        before = baseline.get(finding.entry) if finding.estimate is not None else None
        found = domains(measured, before)
        if found:
            svg = Markup(domains_svg(finding.entry, found, f"dp-{index}"))
            more = max(0, len(found) - MAX_DOMAINS)
            made.append(Plot(finding.entry, svg, found[:MAX_DOMAINS], more))
    return made


def _section(finding: Finding, candidate: Sides, baseline: Sides) -> Section:
    measured = candidate.get(finding.entry)
    compared = is_compared(finding, candidate, baseline)
    return Section(
        finding,
        counts(finding, candidate, baseline) if compared else None,
        group_changes(finding, candidate, baseline)[:MAX_ROWS],
        [(k.replace("_", " "), number(v)) for k, v in sorted(measured.summary.items())]
        if measured
        else [],
        [
            *grids("groups against their reference", contrast_table(finding)),
            *(
                grid
                for name, table in sorted(measured.tables.items())
                for grid in grids(name, table)
            ),
        ]
        if measured
        else [],
    )


def _chosen(entry: str, found: Sequence[Flip]) -> ShownFlips:
    lost = [flip for flip in found if flip.change < 0][:MAX_EACH_WAY]
    won = [flip for flip in found if flip.change > 0][:MAX_EACH_WAY]
    chosen = {id(flip) for flip in (*lost, *won)}
    shown = [_marked(flip) for flip in found if id(flip) in chosen]
    return ShownFlips(entry, len(found), shown)


def _marked(flip: Flip) -> ShownFlip:
    new, old = flip.candidate_answer, flip.baseline_answer
    if new is None or old is None:
        plain = (None if new is None else ((new, False),), None if old is None else ((old, False),))
        return ShownFlip(flip, *plain)
    after, before = (re.findall(r"\S+\s*|\s+", text) for text in (new, old))
    if max(len(after), len(before)) > MAX_COMPARED_WORDS:
        return ShownFlip(flip, ((new, False),), ((old, False),))
    old_words, new_words = ([word.strip() for word in words] for words in (before, after))
    steps = difflib.SequenceMatcher(None, old_words, new_words, autojunk=False).get_opcodes()
    return ShownFlip(
        flip,
        _pieces(("".join(after[j:k]), tag) for tag, _, _, j, k in steps),
        _pieces(("".join(before[i:k]), tag) for tag, i, k, _, _ in steps),
    )


def _pieces(steps: Iterable[tuple[str, str]]) -> Marked:
    """(text, how it differs) as marked pieces; white space at an end is never marked."""
    made = []
    for text, tag in steps:
        bare = text.rstrip()
        made += [(bare, tag != "equal"), (text[len(bare) :], False)]
    return tuple(piece for piece in made if piece[0])


def _facts(verdict: Verdict, candidate: Sides, baseline: Sides) -> list[tuple[str, ...]]:
    """(entry, side, backend, dtype, context length, chat template, configuration, evidence)."""
    return [
        (
            finding.entry,
            name,
            evidence.facts.backend,
            evidence.facts.dtype,
            str(evidence.facts.context_length),
            short(evidence.facts.chat_template_digest),
            short(evidence.config_digest),
            verdict.evidence_digests.get(f"{name}/{finding.entry}", "-"),
        )
        for finding in verdict.findings
        for name, side in (("candidate", candidate), ("baseline", baseline))
        if (evidence := side.get(finding.entry)) is not None
    ]
