"""Data sets of the calibration put through the gate itself: a policy, evidence, a verdict."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from audit.calibration_data import BUDGET, Clustered, Contrasted
from eval.checks import Check, Kind, Measured
from eval.gate import Policy, judge, load_policy
from registry.evidence import Evidence, Item, ModelFacts
from registry.records import digest_of
from registry.verdict import Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANDIDATE, CHAMPION = digest_of("candidate"), digest_of("champion")
NO_DIFFERENCE = 1e-9  # a limit has to be more than 0


class _NoSettings(BaseModel):
    """A simulated check has no configuration."""


def _row(kind: Kind) -> Check:
    return Check(
        name="simulated",
        measure=lambda runner, config: Measured(()),
        config=_NoSettings,
        kind=kind,
        higher_is_better=False,
        unit="share",
        bounds=(-1.0, 1.0) if kind == "contrasts" else (0.0, 1.0),
        zero="no harm",
        source="audit.calibration_data",
    )


@cache
def _policy(kind: Kind, rule: str) -> Policy:
    """One required entry with ``rule``, its margin or limit as a policy's YAML has it."""
    written = (
        "schema_version: 1\nname: calibration\nentries:\n  - {name: simulated, check: simulated, "
        f"tier: required, {rule}, min_items: 20, owner: audit, reason: calibration}}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_text(written)
        return load_policy(path, [_row(kind)], resolve=Path)


def _evidence(
    values: Sequence[float],
    templates: Sequence[str | None],
    weights: str,
    groups: Sequence[str] | None = None,
) -> Evidence:
    facts = ModelFacts(
        weights_digest=weights,
        backend="simulated",
        dtype="float64",
        context_length=1,
        chat_template_digest="none",
    )
    items = tuple(
        Item(
            key=str(i),
            content_hash=str(i),
            value=value,
            cluster=template,
            group=None if groups is None else groups[i],
        )
        for i, (value, template) in enumerate(zip(values, templates, strict=True))
    )
    return Evidence(
        check="simulated",
        config={},
        config_digest="simulated",
        facts=facts,
        items=items,
        seconds=0.0,
        created_at=NOW,
    )


def _status(policy: Policy, candidate: Evidence, champion: Evidence | None = None) -> Status:
    def named(evidence: Evidence) -> Mapping[str, Evidence]:
        return {"simulated": evidence}

    verdict = judge(
        policy,
        named(candidate),
        None if champion is None else named(champion),
        candidate_digest=CANDIDATE,
        baseline_digest=None if champion is None else CHAMPION,
        against="champion",
        now=NOW,
    )
    assert verdict.status is not Status.INVALID, verdict.reasons
    return verdict.status


def change_verdict(drawn: Clustered, kind: Kind, *, clustered: bool = True) -> Status:
    """Against the champion with a margin of 0: PASS means better, FAIL means worse."""
    templates: Sequence[str | None] = drawn.templates
    if not clustered:
        templates = [None] * len(drawn.templates)
    return _status(
        _policy(kind, "margin: 0"),
        _evidence(drawn.candidate, templates, CANDIDATE),
        _evidence(drawn.champion, templates, CHAMPION),
    )


def budget_verdict(drawn: Clustered, *, clustered: bool = True) -> Status:
    """The candidate's own harms against the budget."""
    templates: Sequence[str | None] = drawn.templates
    if not clustered:
        templates = [None] * len(drawn.templates)
    policy = _policy("rare_harm", f"limit: {{max: {BUDGET}}}")
    return _status(policy, _evidence(drawn.candidate, templates, CANDIDATE))


def contrasts_verdict(drawn: Contrasted) -> Status:
    """Matched differences with a limit of next to nothing: FAIL means that a group differs."""
    policy = _policy("contrasts", f"limit: {{max: {NO_DIFFERENCE}}}")
    return _status(policy, _evidence(drawn.differences, drawn.templates, CANDIDATE, drawn.groups))


def any_group_alone(drawn: Contrasted) -> bool:
    """Each group judged as if it were the only one: no Holm."""
    for name in dict.fromkeys(drawn.groups):
        kept = [i for i, group in enumerate(drawn.groups) if group == name]
        one = Contrasted(
            [drawn.differences[i] for i in kept],
            [name] * len(kept),
            [drawn.templates[i] for i in kept],
        )
        if contrasts_verdict(one) is Status.FAIL:
            return True
    return False
