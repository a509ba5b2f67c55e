"""Policies and evidence made by hand, for the judge's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from eval.checks import Check, Kind, Measured
from eval.gate import Entry, Policy, Rule, judge
from eval.policy import Written
from registry.evidence import Evidence, Item, ModelFacts
from registry.records import digest_of
from registry.verdict import Finding, Verdict

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CANDIDATE, BASELINE = digest_of(b"candidate"), digest_of(b"baseline")
BOUNDS: dict[Kind, tuple[float | None, float | None]] = {
    "binary": (0, 1), "numeric": (0, 1), "bits_per_byte": (0, None), "rare_harm": (0, 1),
    "contrasts": (-1, 1),
}  # fmt: skip


class NoSettings(BaseModel):
    """A check without a configuration."""


def entry(kind: Kind = "binary", *, name: str = "check", **rule: Any) -> Entry:
    row = Check(
        name=name,
        measure=lambda runner, config: Measured(()),
        config=NoSettings,
        kind=kind,
        higher_is_better=kind in {"binary", "numeric"},
        unit="share",
        bounds=BOUNDS[kind],
        zero="none",
        source="test",
    )
    body = {"tier": "required", "min_items": 1, "reason": "test", "owner": "test"} | rule
    if "margin" not in body and "limit" not in body:
        body["margin"] = 0.1
    return Entry(Rule(name=name, check=name, **body), row, NoSettings())


def policy(*entries: Entry) -> Policy:
    return Policy(Written(name="test", entries=tuple(e.rule for e in entries)), entries)


def items(values: Sequence[float | None], **more: Any) -> tuple[Item, ...]:
    """One item for each value; None is unscored. ``more`` gives a field for all, or by index."""
    made = []
    for index, value in enumerate(values):
        fields = {k: v[index] if isinstance(v, list) else v for k, v in more.items()}
        made.append(
            Item(
                key=f"item-{index}",
                content_hash=f"hash-{index}",
                value=value,
                unscored="no answer" if value is None else None,
                **fields,
            )
        )
    return tuple(made)


def evidence(
    values: Sequence[float | None] | tuple[Item, ...],
    weights: str,
    *,
    check: str = "check",
    **facts: Any,
) -> Evidence:
    made = tuple(v for v in values if isinstance(v, Item))
    made = made or items([v for v in values if not isinstance(v, Item)])
    described = {"backend": "torch", "dtype": "float32", "context_length": 512}
    described |= {"chat_template_digest": "sha256:template"}
    config = facts.pop("config_digest", "sha256:config")
    return Evidence(
        check=check,
        config={},
        config_digest=config,
        facts=ModelFacts(weights_digest=weights, **(described | facts)),
        items=made,
        seconds=1.0,
        created_at=NOW,
    )


def verdict(
    one: Policy | Entry,
    candidate: Any,
    baseline: Any = None,
    *,
    against: str = "champion",
    baseline_digest: str = BASELINE,
) -> Verdict:
    def named(side: Any, weights: str) -> Mapping[str, Evidence]:
        if isinstance(side, Evidence):
            return {"check": side}
        return side if isinstance(side, dict) else {"check": evidence(side, weights)}

    return judge(
        policy(one) if isinstance(one, Entry) else one,
        named(candidate, CANDIDATE),
        None if baseline is None else named(baseline, baseline_digest),
        candidate_digest=CANDIDATE,
        baseline_digest=None if baseline is None else baseline_digest,
        against=against,
        now=NOW,
    )


def only(found: Verdict) -> Finding:
    (finding,) = found.findings
    return finding


HALF = [1.0, 0.0] * 100  # 200 items, half of them right
