"""Stop measuring a candidate that has already lost: an early FAIL, never an early PASS.

Each required entry with a margin is looked at after an eighth, a quarter and half of its
items, in an order that says nothing about them. Where the evidence that the loss exceeds
the margin reaches 1 / alpha (``eval.stats_sequential``), the candidate FAILs and nothing
more is measured. What was answered on the way is kept in the runner's journal, so a
candidate that is not stopped is not measured twice.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from eval.compare import pair_up
from eval.policy import Entry, Policy
from eval.runner import Runner
from eval.stats_sequential import loss_e_process
from registry.evidence import Evidence, Item
from registry.verdict import Finding, Status, Verdict

SHARES = (0.125, 0.25, 0.5)
_DATA_FIELDS = ("data", "prompts")


@dataclass(frozen=True)
class EarlyLoss:
    """Where it was stopped: the entry, the items looked at, the mean change, the evidence."""

    entry: str
    looked_at: int
    of: int
    change: float
    evidence: float
    needed: float


@dataclass
class _Sequence:
    """One entry's items in the order in which they are looked at, a cluster at a time."""

    entry: Entry
    field: str
    lines: list[tuple[str, str]]  # (item key, its row)
    baseline: dict[str, Item]
    largest_cluster: int
    seen: list[float]
    names: list[str]

    def until(self, share: float) -> int:
        """How many items that share comes to, with the last cluster whole."""
        end = max(1, round(share * len(self.lines)))
        while end < len(self.lines) and self._cluster(end) == self._cluster(end - 1):
            end += 1
        return end

    def _cluster(self, index: int) -> str:
        key = self.lines[index][0]
        return self.baseline[key].cluster or key


def look_early(
    policy: Policy,
    runner: Callable[[], Runner],
    baseline: Mapping[str, Evidence],
    *,
    skip: Callable[[Entry], bool] = lambda entry: False,
    seed: int = 0,
) -> EarlyLoss | None:
    """The first entry that is lost beyond doubt, or None where all must be measured.

    Looked at are required entries with a margin, bounded values and one row per item in a
    JSONL file; others wait for all their items. ``skip`` names those already measured.
    """
    sequences = [
        found
        for entry in policy.required
        if not skip(entry) and (found := _sequence(entry, baseline.get(entry.name), seed))
    ]
    for share in SHARES:
        for sequence in sequences:
            lost = _look(sequence, runner(), share)
            if lost is not None:
                return lost
    return None


def _sequence(entry: Entry, evidence: Evidence | None, seed: int) -> _Sequence | None:
    field = next((f for f in _DATA_FIELDS if f in type(entry.config).model_fields), None)
    low, high = entry.row.bounds
    if entry.rule.margin is None or evidence is None or field is None:
        return None
    if entry.row.kind in {"bits_per_byte", "contrasts"} or low is None or high is None:
        return None
    if not entry.row.needs_model or entry.rule.margin >= high - low:
        return None
    baseline = {item.key: item for item in evidence.items}
    rows = dict(_rows(getattr(entry.config, field)))
    if not baseline.keys() <= rows.keys():
        return None
    clusters: dict[str, list[str]] = {}
    for key, item in baseline.items():
        clusters.setdefault(item.cluster or key, []).append(key)
    order = sorted(clusters)
    random.Random(f"early/{seed}/{entry.name}").shuffle(order)
    keys = [key for name in order for key in clusters[name]]
    return _Sequence(
        entry,
        field,
        [(key, rows[key]) for key in keys],
        baseline,
        max(Counter(item.cluster or key for key, item in baseline.items()).values()),
        [],
        [],
    )


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(id, line) of each row of a JSONL file; nothing where its rows have no ids."""
    if path.suffix != ".jsonl":
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            body: Any = json.loads(line) if line.strip() else None
            if isinstance(body, dict) and isinstance(body.get("id"), str):
                yield body["id"], line if line.endswith("\n") else line + "\n"


def _look(sequence: _Sequence, runner: Runner, share: float) -> EarlyLoss | None:
    entry, start = sequence.entry, len(sequence.seen)
    part = sequence.lines[start : sequence.until(share)]
    if not part:
        return None
    items = _measure(entry, sequence.field, part, runner)
    comparable = [
        item for item in items if item.content_hash == sequence.baseline[item.key].content_hash
    ]
    if len(comparable) < len(part):  # prompts that depend on the other rows, as few-shot draws do
        return None
    pairs = {
        item.key: pair
        for item in comparable
        for pair in pair_up(entry.row, [item], [sequence.baseline[item.key]])
    }
    for key, _ in part:
        if key in pairs:
            sequence.seen.append(pairs[key].candidate - pairs[key].baseline)
            sequence.names.append(pairs[key].cluster)
    low, high = entry.row.bounds
    assert low is not None
    assert high is not None
    assert entry.rule.margin is not None
    evidence = loss_e_process(
        sequence.seen,
        sequence.names,
        margin=entry.rule.margin,
        reach=high - low,
        largest_cluster=sequence.largest_cluster,
    )
    most = float(evidence.max(initial=0.0))
    if most < 1 / entry.rule.alpha:
        return None
    return EarlyLoss(
        entry.name,
        len(sequence.seen),
        len(sequence.lines),
        sum(sequence.seen) / len(sequence.seen),
        most,
        1 / entry.rule.alpha,
    )


def _measure(
    entry: Entry, field: str, part: Sequence[tuple[str, str]], runner: Runner
) -> tuple[Item, ...]:
    """The check on these rows alone."""
    with tempfile.TemporaryDirectory(prefix="hallmark-early-") as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(line for _, line in part), encoding="utf-8")
        config = entry.config.model_copy(update={field: path})
        return entry.row.measure(runner, config).items


def early_verdict(
    policy: Policy,
    lost: EarlyLoss,
    baseline: Mapping[str, Evidence],
    *,
    candidate_digest: str,
    baseline_digest: str,
    against: str,
    now: datetime,
) -> Verdict:
    """FAIL by the entry that was lost; the others were not measured to their end."""
    reason = (
        f"lost early: after {lost.looked_at} of {lost.of} items the change is "
        f"{lost.change:+.4g} and the evidence against the margin {lost.evidence:.3g} "
        f"({lost.needed:g} suffice)"
    )
    findings = tuple(
        Finding(
            entry=entry.name,
            check=entry.check,
            tier=entry.rule.tier,
            status=Status.FAIL if entry.name == lost.entry else Status.INCONCLUSIVE,
            reason=reason if entry.name == lost.entry else "not measured: stopped early",
            unit=entry.row.unit,
            higher_is_better=entry.row.higher_is_better,
            n=lost.looked_at if entry.name == lost.entry else 0,
            unscored=0,
            estimate=lost.change if entry.name == lost.entry else None,
            margin=entry.rule.margin,
            limit=entry.rule.limit.value if entry.rule.limit else None,
            method="betting e-process" if entry.name == lost.entry else "",
        )
        for entry in policy.entries
    )
    return Verdict(
        status=Status.FAIL,
        candidate_digest=candidate_digest,
        baseline_digest=baseline_digest,
        against=against,
        policy_name=policy.name,
        policy_digest=policy.digest,
        evidence_digests={f"baseline/{name}": one.digest for name, one in sorted(baseline.items())},
        findings=findings,
        reasons=(f"{lost.entry}: FAIL: {reason}",),
        created_at=now,
    )
