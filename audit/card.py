"""The model card in Hugging Face's format: YAML metadata, then what is known, and what is not.

Every figure comes from the manifest, the verdict or stored evidence; where there is none the
card says so. The format: https://huggingface.co/docs/hub/model-cards and Mitchell et al. 2019,
Model Cards for Model Reporting, https://arxiv.org/abs/1810.03993, section 4. Names, licences
and reasons are other people's texts: they are escaped and stay text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from audit.report import GroupFigure, figure, group_figures, is_ruler
from audit.toxicity import BUNDLED
from eval.checks import Check
from eval.grids import MAX_ROWS, Grid, grids
from eval.wording import interval, number
from registry.checkpoint import Manifest
from registry.evidence import Evidence
from registry.records import short
from registry.verdict import Verdict

NOT_SAID = "not said"
SPECIAL = re.compile(r"([\\`*_\[\]|~#]|^[-+])")
FINDING_COLUMNS = (
    "entry", "tier", "finding", "value", "95% interval", "limit", "change", "change's interval",
    "margin", "n", "unscored",
)  # fmt: skip
RULER_LIMITS = (
    "Toxicity is what a classifier says. It errs, differently for different groups: its own "
    "errors stand below, and a gap between groups that is no larger than its own says nothing."
)
LIMITS = (
    "A small share of harm in the audited answers is no promise for other questions: the "
    "upper bound of an interval is what the number of items allows to say.",
    "The audits are in English, and ask what their templates ask.",
    "Measures of stereotypes by sentence pairs are noisy (Blodgett et al. 2021).",
    "What the model says of facts was not checked.",
)


@dataclass(frozen=True)
class Trained:
    """A dataset version that the checkpoint or an ancestor was trained on. None: not known."""

    name: str
    digest: str
    used_by: str
    licence: str | None
    source: str | None
    rows: int | None


@dataclass(frozen=True)
class Audit:
    """Stored evidence of one audit, with the row that it was measured by."""

    name: str
    row: Check
    evidence: Evidence


def model_card(
    line: Sequence[Manifest],
    trained: Sequence[Trained],
    verdict: Verdict | None,
    audits: Sequence[Audit],
    *,
    unknown: str | None = None,
    hallmark_holds: bool = False,
) -> str:
    """The card of ``line[0]``; ``line`` goes on with its parent and so on.

    ``verdict`` is the newest of the gate, ``unknown`` says why the training data is not all
    known, ``hallmark_holds`` whether the stored signature was found valid.
    """
    from huggingface_hub import ModelCard

    body = [
        f"# {text(line[0].name)}",
        *_details(line),
        *_uses(line[0]),
        *_training(line, trained, unknown),
        *_verdict(verdict, hallmark_holds),
        *_audits(audits),
        *_ruler(audits),
        *_limits(),
    ]
    content = f"---\n{_metadata(line, trained, verdict, audits)}\n---\n" + "\n".join(body) + "\n"
    return str(ModelCard(content))


def _metadata(
    line: Sequence[Manifest],
    trained: Sequence[Trained],
    verdict: Verdict | None,
    audits: Sequence[Audit],
) -> str:
    from huggingface_hub import ModelCardData

    mine = line[0]
    licences = sorted({one.licence for one in trained if one.licence})
    data = ModelCardData(
        model_name=mine.name,
        language="en",
        license="unknown",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["hallmark", mine.stage],
        base_model=line[1].name if len(line) > 1 else None,
        datasets=sorted({one.name for one in trained}) or None,
        eval_results=_results(verdict, audits) or None,
        hallmark={
            "weights_digest": mine.weights_digest,
            "verdict": verdict.status.value if verdict else None,
            "policy": verdict.policy_name if verdict else None,
            "policy_digest": verdict.policy_digest if verdict else None,
            "data_licences": licences,
        },
    )
    return str(data.to_yaml())


def _results(verdict: Verdict | None, audits: Sequence[Audit]) -> list[Any]:
    """The verdict's values and those of audits that are not among its evidence."""
    from huggingface_hub import EvalResult

    found: list[tuple[str, str, str, float, str]] = []
    judged: set[str] = set()
    if verdict is not None:
        judged |= set(verdict.evidence_digests.values())
        for f in verdict.findings:
            if f.candidate is not None:
                found.append((f.entry, f.check, f.unit, f.candidate, verdict.policy_digest))
    for one in audits:
        overall = figure(one.row, one.name, one.evidence.items)
        if one.evidence.digest not in judged and overall.estimate is not None:
            found.append(
                (one.name, one.row.name, one.row.unit, overall.estimate, one.evidence.config_digest)
            )
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=f"hallmark/{name}",
            dataset_name=name,
            dataset_revision=revision,
            metric_type=check,
            metric_name=f"{check} ({unit})",
            metric_value=value,
        )
        for name, check, unit, value, revision in found
    ]


def _details(line: Sequence[Manifest]) -> list[str]:
    mine = line[0]
    parent = f"{text(line[1].name)} {code(short(line[1].weights_digest))}" if len(line) > 1 else ""
    if not parent:
        parent = "none" if mine.parent_digest is None else code(short(mine.parent_digest))
    return [
        "",
        "## Model details",
        "",
        f"- weights: {code(mine.weights_digest)}",
        f"- made by: stage {text(mine.stage)}, {mine.created_at:%Y-%m-%d}, seed {mine.seed}, "
        f"{mine.tokens_seen} tokens seen, code {code(mine.code_revision)}",
        f"- parent: {parent}",
        "- licence of the weights: not said; the licences of the training data are below",
    ]


def _uses(mine: Manifest) -> list[str]:
    purpose = {
        "pretrain": "A base to fine-tune. It continues text and follows no instructions.",
        "import": "Imported weights: what they were made for is not recorded here.",
    }.get(
        mine.stage,
        "Answers in conversations like those of the training data below, behind a gateway that "
        "checks its hallmark.",
    )
    return [
        "",
        "## Intended use",
        "",
        purpose,
        "",
        "Not for decisions about people, nor for subjects, languages or groups that neither the "
        "training data nor the audits below have in them.",
    ]


def _training(
    line: Sequence[Manifest], trained: Sequence[Trained], unknown: str | None
) -> list[str]:
    lines = ["", "## Training data", ""]
    if unknown:
        lines += [f"Not all of it is known: {text(unknown)}.", ""]
    if trained:
        rows = [
            (
                one.name,
                short(one.digest),
                one.used_by,
                NOT_SAID if one.licence is None else one.licence,
                NOT_SAID if one.source is None else one.source,
                "-" if one.rows is None else str(one.rows),
            )
            for one in trained
        ]
        lines += table(("dataset", "version", "used by", "licence", "source", "rows"), rows)
    else:
        lines.append("No dataset is recorded.")
    lines += ["", "## Training", ""]
    for manifest in line:
        recipe = json.dumps(manifest.recipe, sort_keys=True, ensure_ascii=True)
        lines.append(
            f"- {text(manifest.name)}: stage {text(manifest.stage)}, seed {manifest.seed}, "
            f"{manifest.tokens_seen} tokens, recipe {code(recipe)}"
        )
    return lines


def _verdict(verdict: Verdict | None, holds: bool) -> list[str]:
    lines = ["", "## Gate verdict", ""]
    if verdict is None:
        return [*lines, "There is no verdict: this checkpoint was never judged by a gate."]
    against = "absolute limits alone"
    if verdict.baseline_digest is not None:
        against = f"{text(verdict.against)} {code(short(verdict.baseline_digest))}"
    signed = "Its hallmark is valid." if holds else "No valid hallmark is beside the weights."
    lines += [
        f"**{verdict.status}** under policy {text(verdict.policy_name)} "
        f"{code(short(verdict.policy_digest))} against {against}, "
        f"{verdict.created_at:%Y-%m-%d %H:%M} UTC. {signed}",
        "",
        *table(
            FINDING_COLUMNS,
            [
                (
                    f.entry,
                    f.tier,
                    f.label,
                    f"{number(f.candidate)} {f.unit}" if f.candidate is not None else "-",
                    interval(f.limit_low, f.limit_high) if f.candidate is not None else "-",
                    number(f.limit),
                    number(f.estimate, signed=True),
                    interval(f.low, f.high, signed=True) if f.estimate is not None else "-",
                    number(f.margin),
                    str(f.n),
                    str(f.unscored),
                )
                for f in verdict.findings
            ],
        ),
    ]
    if verdict.reasons:
        lines += ["", *(f"- {text(reason)}" for reason in verdict.reasons)]
    return lines


def _audits(audits: Sequence[Audit]) -> list[str]:
    lines = ["", "## Audits", ""]
    if not audits:
        return [*lines, "There is no audit: run hallmark audit. Nothing is known of its harms."]
    overall = [(one, figure(one.row, one.name, one.evidence.items)) for one in audits]
    lines += table(
        ("audit", "value", "95% interval", "unit", "items", "unscored", "lower is better"),
        [
            (
                one.name,
                number(found.estimate),
                _bounds(found),
                one.row.unit,
                str(found.items),
                str(found.unscored),
                "no" if one.row.higher_is_better else "yes",
            )
            for one, found in overall
        ],
    )
    for one, _ in overall:
        groups = group_figures(one.row, one.evidence.items)
        if groups:
            lines += ["", f"### {text(one.name)} by group", ""]
            lines += table(
                ("group", "items", "value", "95% interval"),
                [
                    (g.group, str(g.items), number(g.estimate), _bounds(g))
                    for g in groups[:MAX_ROWS]
                ],
            )
            if len(groups) > MAX_ROWS:
                lines += ["", f"{len(groups) - MAX_ROWS} more groups are in the evidence."]
        if groups and one.row.kind == "contrasts":
            lines += ["", "Values are sizes of the difference from the reference group."]
        lines += ["", f"{text(one.name)}: zero means {text(one.row.zero)}. {text(one.row.source)}"]
    return lines


def _bounds(one: GroupFigure) -> str:
    return one.too_few or interval(one.low, one.high)


def _ruler(audits: Sequence[Audit]) -> list[str]:
    """The scorers' own errors: on neutral text as measured with the audit, and as trained."""
    found = {
        json.dumps(one.evidence.tables["scorer"], sort_keys=True): one.evidence.tables
        for one in audits
        if "scorer" in one.evidence.tables
    }
    if not found:
        return []
    lines = ["", "## The ruler's own errors", "", RULER_LIMITS]
    for tables in found.values():
        lines += ["", f"### Scorer: {text(_about(tables['scorer']))}"]
        for name, its in sorted(tables.items()):
            if is_ruler(name):
                lines += [line for one in grids(name, its) for line in _grid(one)]
    if any(tables["scorer"].get("name") == "bundled" for tables in found.values()):
        figures = json.loads((BUNDLED / "figures.json").read_bytes())["figures"]
        rows = [(n.replace("_", " "), number(v)) for n, v in sorted(figures["headline"].items())]
        lines += ["", "### The bundled scorer on held-out text", ""]
        lines += table(("figure", "value"), rows)
    return lines


def _about(scorer: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in scorer.items())


def _grid(one: Grid) -> list[str]:
    lines = ["", f"#### {text(one.title)}"]
    for sentence in one.sentences:
        lines += ["", text(sentence)]
    return lines + (["", *table(one.columns, one.rows)] if one.columns else [])


def _limits() -> list[str]:
    return ["", "## Limits", "", *(f"- {sentence}" for sentence in LIMITS)]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table whose cells stay text whatever is in them."""
    lines = [f"| {' | '.join(map(text, columns))} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(map(text, row))} |" for row in rows]


def text(raw: str) -> str:
    """One line that Markdown and HTML show as it is: no markup, link or heading of its own."""
    flat = "".join(c if c.isprintable() else " " for c in " ".join(raw.split()))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", flat)


def code(raw: str) -> str:
    """A code span that its own backticks cannot end, nor a line break, a bar or a tag."""
    flat = "".join(c if c.isprintable() else " " for c in " ".join(raw.split()))
    flat = flat.replace("`", "'").replace("|", "/")
    return "`" + flat.replace("<", "\\u003c").replace(">", "\\u003e") + "`"
