"""Judge evidence by a policy: PASS, FAIL, INCONCLUSIVE or INVALID. Pure: no file, no clock.

With a margin, the interval [L, U] of candidate minus baseline (higher is better)
decides: PASS where L > -margin, FAIL where U < -margin, else INCONCLUSIVE. With a
limit the interval of the candidate's own value decides: for ``min`` PASS where its
lower bound reaches it, FAIL where its upper bound is below; ``max`` mirrored. With
both, both must hold. Contrasts (differences between groups) are judged in
``eval.contrasts``. Promotion takes every required finding to PASS, an
intersection-union test: its false-promotion rate stays at alpha without correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from eval import contamination as leaks
from eval.compare import Reading, own, pair_up, paired
from eval.contamination import Contamination
from eval.contrasts import contrasts_finding
from eval.judge_accuracy import accuracy_of
from eval.noise import with_noise
from eval.policy import Entry, Limit, Policy, Rule, load_policy, policy_path, policy_schema
from eval.policy_yaml import PolicyError
from registry.evidence import Evidence
from registry.records import short
from registry.verdict import CleanPart, Finding, NoiseFloor, Status, Verdict

__all__ = [
    "Entry",
    "Policy",
    "PolicyError",
    "Rule",
    "judge",
    "load_policy",
    "own",
    "policy_path",
    "policy_schema",
]


def judge(
    policy: Policy,
    candidate: Mapping[str, Evidence],
    baseline: Mapping[str, Evidence] | None,
    *,
    candidate_digest: str,
    baseline_digest: str | None,
    against: str,
    now: datetime,
    contamination: Mapping[str, Contamination] | None = None,
    noise: Mapping[str, NoiseFloor] | None = None,
) -> Verdict:
    """One finding for each entry, and the verdict over the required ones.

    Evidence is by entry name. ``baseline=None`` says that there is no champion yet:
    absolute limits alone decide, and entries with only a margin are not judged.
    ``contamination`` is of the candidate, of each entry whose rule asks for it; ``noise``
    is reported beside the findings and changes no status.
    """
    contamination = contamination or {}
    noise = noise or {}
    findings = tuple(
        with_noise(
            _finding(
                entry,
                candidate.get(entry.name),
                None if baseline is None else baseline.get(entry.name),
                candidate_digest=candidate_digest,
                baseline_digest=None if baseline is None else baseline_digest,
                has_baseline=baseline is not None,
                against=against,
                contamination=contamination.get(entry.name),
            ),
            noise.get(entry.name),
        )
        for entry in policy.entries
    )
    broken = _broken(policy, baseline is not None, candidate_digest, baseline_digest)
    required = [f for f in findings if f.tier == "required"]
    status = Status.INVALID if broken else _worst([f.status for f in required])
    digests = {f"candidate/{name}": e.digest for name, e in sorted(candidate.items())}
    digests |= {f"baseline/{name}": e.digest for name, e in sorted((baseline or {}).items())}
    digests |= {f"contamination/{name}": e.digest for name, e in sorted(contamination.items())}
    return Verdict(
        status=status,
        candidate_digest=candidate_digest,
        baseline_digest=None if baseline is None else baseline_digest,
        against=against,
        policy_name=policy.name,
        policy_digest=policy.digest,
        evidence_digests=digests,
        findings=findings,
        reasons=(
            *broken,
            *(f.as_reason for f in required if f.status != Status.PASS),
        ),
        created_at=now,
    )


def _worst(statuses: list[Status]) -> Status:
    """INVALID before FAIL before INCONCLUSIVE before PASS; nothing judged is INVALID."""
    for status in (Status.INVALID, Status.FAIL, Status.INCONCLUSIVE):
        if status in statuses:
            return status
    return Status.PASS if statuses else Status.INVALID


def _broken(
    policy: Policy, has_baseline: bool, candidate_digest: str, baseline_digest: str | None
) -> tuple[str, ...]:
    """Why no verdict can be given at all; empty where one can."""
    reasons = []
    if not policy.required:
        reasons.append(f"policy {policy.name} has no required entry: nothing would be decided")
    elif not has_baseline and all(e.rule.limit is None for e in policy.required):
        reasons.append(
            f"no baseline, and policy {policy.name} has no required entry with a limit: "
            "add a limit to one, or name a checkpoint to compare with"
        )
    if has_baseline and baseline_digest is None:
        reasons.append("baseline evidence without the baseline's weights digest")
    if has_baseline and (same := _same_weights(candidate_digest, baseline_digest)):
        reasons.append(same)
    return tuple(reasons)


def _same_weights(candidate_digest: str, baseline_digest: str | None) -> str | None:
    if candidate_digest != baseline_digest:
        return None
    return (
        f"candidate and baseline are the same weights {short(candidate_digest)}: "
        "a checkpoint cannot be judged against itself"
    )


def _finding(
    entry: Entry,
    candidate: Evidence | None,
    baseline: Evidence | None,
    *,
    candidate_digest: str,
    baseline_digest: str | None,
    has_baseline: bool,
    against: str,
    contamination: Contamination | None = None,
) -> Finding:
    rule = entry.rule
    compared = rule.margin is not None and has_baseline
    found: dict[str, Any] = {
        "entry": rule.name,
        "check": rule.check,
        "tier": rule.tier,
        "unit": entry.row.unit,
        "higher_is_better": entry.row.higher_is_better,
        "margin": rule.margin,
        "limit": rule.limit.value if rule.limit else None,
        "n": len(candidate.items) if candidate else 0,
        "unscored": sum(i.value is None for i in candidate.items) if candidate else 0,
    }
    problem = _unusable(entry, "candidate", candidate, candidate_digest)
    if problem is None and has_baseline and (compared or baseline is not None):
        doubt = (
            _same_weights(candidate_digest, baseline_digest)
            or _unusable(entry, "baseline", baseline, baseline_digest)
            or _incomparable(candidate, baseline)
        )
        if doubt is not None:
            problem, baseline = (doubt, baseline) if compared else (None, None)
    if problem is None and candidate is not None:
        problem = leaks.problem(entry, candidate, contamination)
    if problem is not None:
        return Finding(**found, status=Status.INVALID, reason=problem)
    assert candidate is not None
    found["unscored"] = _num_unscored(candidate, baseline)
    if found["unscored"] > rule.max_unscored:
        return Finding(
            **found,
            status=Status.INVALID,
            reason=f"{found['unscored']} of {found['n']} items unscored, {rule.max_unscored} "
            f"allowed{_first_unscored(candidate, baseline)}",
        )
    judged = _judged(entry, candidate, baseline, found, compared=compared, against=against)
    if contamination is None or rule.contamination is None:
        return judged
    return _with_clean_part(
        judged, rule, leaks.clean_part(entry, candidate, baseline, contamination)
    )


def _with_clean_part(finding: Finding, rule: Rule, part: CleanPart) -> Finding:
    """FAIL past the share that the policy allows, whatever the numbers say: what the
    candidate has learned by heart shows nothing of what it can do."""
    if finding.status is Status.INVALID:
        return finding.model_copy(update={"clean": part})
    total = part.leaked + part.n
    reason = f"{finding.reason}; {part.leaked} of {total} items were in its training data"
    if not leaks.too_much(part):
        return finding.model_copy(update={"clean": part, "reason": reason})
    reason += f", more than the share of {part.max_share:g} that the policy allows"
    fails = {"clean": part, "reason": reason, "status": Status.FAIL, "tier": rule.tier}
    return finding.model_copy(update=fails)


def _judged(
    entry: Entry,
    candidate: Evidence,
    baseline: Evidence | None,
    found: dict[str, Any],
    *,
    compared: bool,
    against: str,
) -> Finding:
    rule = entry.rule
    scored = found["n"] - found["unscored"]
    if scored == 0:
        return Finding(**found, status=Status.INVALID, reason="no item has a value")
    if entry.row.kind == "contrasts":
        return contrasts_finding(rule, entry.row, candidate, baseline, found)
    judge = accuracy_of(candidate.tables)
    itself = own(entry.row, candidate.items, alpha=rule.alpha, judge=judge)
    found |= {"candidate": itself.estimate, "method": itself.method}
    found |= {"limit_low": _finite(itself.low), "limit_high": _finite(itself.high)}
    change: Reading | None = None
    if baseline is not None:
        found["baseline"] = own(entry.row, baseline.items, alpha=rule.alpha, judge=judge).estimate
        pairs = pair_up(entry.row, candidate.items, baseline.items)
        change = paired(entry.row, pairs, alpha=rule.alpha, judge=judge)
        found |= {"estimate": change.estimate, "method": change.method}
        found |= {"low": _finite(change.low), "high": _finite(change.high)}
    parts: list[tuple[Status, str]] = []
    if compared:
        assert change is not None
        assert rule.margin is not None
        parts.append(_by_margin(change, rule.margin, against))
    if rule.limit is not None:
        parts.append(_by_limit(itself, rule.limit))
        if change is not None:
            found["method"] = f"{change.method}; limit: {itself.method}"
    if not parts:
        why = f"no {against} to compare with" if rule.margin is not None else "watched only"
        found["tier"] = "advisory" if rule.tier == "required" else rule.tier
        return Finding(**found, status=Status.INCONCLUSIVE, reason=f"not judged: {why}")
    if scored < rule.min_items:
        few = f"{scored} scored items, the policy asks for {rule.min_items}"
        return Finding(**found, status=Status.INCONCLUSIVE, reason=few)
    status = _worst([status for status, _ in parts])
    return Finding(**found, status=status, reason="; ".join(reason for _, reason in parts))


def _by_margin(change: Reading, margin: float, against: str) -> tuple[Status, str]:
    bounds = f"[{change.low:+.4g}, {change.high:+.4g}] against {against}"
    if change.too_few is not None:
        return Status.INCONCLUSIVE, f"{change.too_few}; {bounds}"
    if change.low > -margin:
        return Status.PASS, f"{bounds} lies above -{margin:g}"
    if change.high < -margin:
        return Status.FAIL, f"{bounds} lies below -{margin:g}"
    return Status.INCONCLUSIVE, f"{bounds} does not exclude a loss of {margin:g}"


def _by_limit(itself: Reading, limit: Limit) -> tuple[Status, str]:
    bounds = f"own value [{itself.low:.4g}, {itself.high:.4g}]"
    if itself.too_few is not None:
        return Status.INCONCLUSIVE, f"{itself.too_few}; {bounds}"
    if limit.min is not None:
        if itself.low >= limit.min:
            return Status.PASS, f"{bounds} reaches at least {limit.min:g}"
        if itself.high < limit.min:
            return Status.FAIL, f"{bounds} lies below the minimum {limit.min:g}"
        return Status.INCONCLUSIVE, f"{bounds} does not exclude less than {limit.min:g}"
    if itself.high <= limit.value:
        return Status.PASS, f"{bounds} stays within {limit.value:g}"
    if itself.low > limit.value:
        return Status.FAIL, f"{bounds} lies above the maximum {limit.value:g}"
    return Status.INCONCLUSIVE, f"{bounds} does not exclude more than {limit.value:g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _unusable(entry: Entry, side: str, evidence: Evidence | None, digest: str | None) -> str | None:
    """Why one side's evidence cannot be judged; None where it can."""
    if evidence is None:
        return f"no {side} evidence for {entry.name}: run the measurement again"
    if evidence.check != entry.check:
        return f"{side} evidence is of check {evidence.check}, the policy asks for {entry.check}"
    if evidence.facts.weights_digest != digest:
        return (
            f"{side} evidence is of weights {short(evidence.facts.weights_digest)}, "
            f"not of {short(digest or 'none')}"
        )
    if not evidence.items:
        return f"{side} evidence holds no item"
    keys = {item.key for item in evidence.items}
    if len(keys) != len(evidence.items):
        return f"{side} evidence repeats item keys: {len(evidence.items)} items, {len(keys)} keys"
    judge = accuracy_of(evidence.tables)
    if judge is not None and judge.unusable is not None:
        return judge.unusable
    low, high = entry.row.bounds
    for item in evidence.items:
        value, weight = item.value, item.weight
        if value is None:
            continue
        if not math.isfinite(value):
            return f"{side} item {item.key!r} is not a finite number"
        if (judge or entry.row.kind in {"binary", "rare_harm"}) and value not in {0, 1}:
            return f"{side} item {item.key!r} is {value:g}, {entry.check} gives 0 or 1"
        if entry.row.kind == "bits_per_byte":
            if weight is None or not math.isfinite(weight) or weight <= 0:
                return f"{side} item {item.key!r} has no number of bytes"
        elif (low is not None and value < low) or (high is not None and value > high):
            return f"{side} item {item.key!r} is {value:g}, outside {entry.check}'s range"
    return None


def _incomparable(candidate: Evidence | None, baseline: Evidence | None) -> str | None:
    """Why two measurements may not be compared; None where they may."""
    assert candidate is not None
    assert baseline is not None
    for name in ("backend", "dtype", "context_length", "chat_template_digest"):
        mine, theirs = getattr(candidate.facts, name), getattr(baseline.facts, name)
        if mine != theirs:
            return f"{name} differs: candidate {mine}, baseline {theirs}; measure both the same way"
    if candidate.config_digest != baseline.config_digest:
        return "measured under different configurations or files; measure the baseline again"
    ours = {item.key: item for item in candidate.items}
    others = {item.key: item for item in baseline.items}
    if ours.keys() != others.keys():
        return (
            f"different items: candidate {len(ours)}, baseline {len(others)}, "
            f"{len(ours.keys() & others.keys())} in common"
        )
    for key, item in ours.items():
        if item.content_hash != others[key].content_hash:
            return f"item {key!r} has different content on both sides"
        if item.cluster != others[key].cluster or item.weight != others[key].weight:
            return f"item {key!r} has another cluster or weight on the other side"
    return None


def _num_unscored(candidate: Evidence, baseline: Evidence | None) -> int:
    """Items without a value on either side."""
    missing = {item.key for item in candidate.items if item.value is None}
    if baseline is not None:
        missing |= {item.key for item in baseline.items if item.value is None}
    return len(missing)


def _first_unscored(candidate: Evidence, baseline: Evidence | None) -> str:
    for item in (*candidate.items, *(baseline.items if baseline else ())):
        if item.unscored is not None:
            return f"; first: {item.key}: {item.unscored[:120]}"
    return ""
