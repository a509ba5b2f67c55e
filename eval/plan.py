"""What a policy can decide with the items it has: power, items needed, margins refused.

Nothing is measured here. Each required entry must PASS, so with K of them each needs
power P^(1/K) for all to pass with P; the overall power printed is the product, which
holds where the entries' errors are independent. An entry with both a margin and a
limit gets the lower bound p_margin + p_limit - 1. Contrasts between groups count the
items of one group, and get the lower bound 1 - G (1 - p_group) over G groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from eval.checks import Check, CountsGroups, CountsItems
from eval.compare import MIN_CLUSTERS_FOR_T, MIN_DOCUMENTS, WIDENED_DOCUMENTS
from eval.measure import MeasureError, entry_digest
from eval.policy import Entry, Policy
from eval.policy_yaml import PolicyError
from eval.spread import Spread, spread_of
from eval.stats import (
    num_for_zero_harm,
    power_limit_binary,
    power_mean,
    power_tango,
    smallest_margin,
    sparse_interval,
)
from registry.evidence import Evidence, EvidenceStore
from registry.records import Record, UserError, describe_unknown

MOST_ITEMS = 1_000_000


class PlanRow(Record):
    """One entry planned. None means that nothing was assumed or measured to say it by."""

    entry: str
    check: str
    tier: str
    n: int
    margin: float | None
    limit: float | None
    assumptions: str
    smallest_margin: float | None
    """The margin that ``n`` items cannot certify even where both sides agree on all."""
    power_margin: float | None
    power_limit: float | None
    power: float | None
    n_needed: int | None
    """Items for this entry's share of the policy's power."""
    refused: str | None
    """Why the entry can never PASS with ``n`` items, and what would change that."""

    @property
    def note(self) -> str:
        """What a reader needs beside the numbers: the refusal, else what they rest on."""
        return self.refused or self.assumptions or "nothing assumed, nothing measured"


class Plan(Record):
    """All entries planned, and the chance that an equal candidate passes them all."""

    policy: str
    policy_digest: str
    target: float
    target_each: float
    power: float | None
    """Over the required entries; None where one of them could not be planned."""
    rows: tuple[PlanRow, ...]

    @property
    def enough(self) -> bool:
        """Whether no required entry is refused and the power reaches the target."""
        required = [row for row in self.rows if row.tier == "required"]
        refused = any(row.refused for row in required)
        return not refused and self.power is not None and self.power >= self.target

    @property
    def summary(self) -> str:
        """The power beside what was asked for, and what the items needed are needed for."""
        power = "unknown" if self.power is None else f"{self.power:.4g}"
        return (
            f"power over all required entries: {power} (asked for {self.target:g}); "
            f"needed: items for a power of {self.target_each:.4g} in each"
        )


def count_items(policy: Policy) -> dict[str, int]:
    """Items each entry would measure: rows of its files, or what its configuration counts,
    capped by its ``max_`` setting.

    An entry without a file (built-in pairs), or whose data is not there yet, counts its
    ``min_items``: the least that it must be able to decide with.
    """
    counts = {}
    for entry in policy.entries:
        settings = {name: getattr(entry.config, name) for name in type(entry.config).model_fields}
        files = [v for v in settings.values() if isinstance(v, Path) and v.is_file()]
        caps = [
            value
            for name, value in settings.items()
            if name.startswith("max_") and name != "max_tokens" and isinstance(value, int)
        ]
        rows = [_num_rows(file) for file in files] or [entry.rule.min_items]
        if isinstance(entry.config, CountsItems):
            try:
                rows = [entry.config.num_items()]
            except (OSError, UserError):  # the data is not there yet
                rows = [entry.rule.min_items]
        counts[entry.name] = min([max(rows), *caps])
    return counts


def _num_rows(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def plan(
    policy: Policy,
    num_items: Mapping[str, int],
    baseline: Mapping[str, Evidence] | None = None,
    earlier: Mapping[str, Evidence] | None = None,
) -> Plan:
    """Plan each entry with ``num_items`` by entry name.

    ``baseline`` is the champion's evidence, ``earlier`` that of an earlier candidate on
    the same items: the two give the measured discordance. Measured values go before
    assumed ones; from the baseline alone the spread of a difference is taken as if the
    two models erred independently, which is pessimistic.
    """
    each = policy.written.power ** (1 / max(len(policy.required), 1))
    rows = tuple(
        _row(
            entry,
            num_items.get(entry.name, 0),
            (baseline or {}).get(entry.name),
            (earlier or {}).get(entry.name),
            each,
        )
        for entry in policy.entries
    )
    powers = [row.power for row in rows if row.tier == "required"]
    known = [p for p in powers if p is not None]
    return Plan(
        policy=policy.name,
        policy_digest=policy.digest,
        target=policy.written.power,
        target_each=each,
        power=math.prod(known) if known and len(known) == len(powers) else None,
        rows=rows,
    )


def plan_policy(
    policy: Policy,
    checks: Sequence[Check],
    store: EvidenceStore,
    baseline_digest: str | None,
    *,
    earlier_digest: str | None = None,
) -> Plan:
    """``plan`` with the items counted from the data and the evidence that ``store`` has.

    ``checks`` are those the policy was loaded with. An entry whose data or evidence is
    not there yet is planned from what the policy assumes.
    """
    known = {check.name for check in checks}
    for entry in policy.entries:
        if entry.check not in known:
            raise PolicyError(describe_unknown("check", entry.check, sorted(known)))
    return plan(
        policy,
        count_items(policy),
        _stored(policy, store, baseline_digest),
        _stored(policy, store, earlier_digest),
    )


def _stored(policy: Policy, store: EvidenceStore, digest: str | None) -> dict[str, Evidence]:
    """What was already measured of one checkpoint, by entry name."""
    found = {}
    for entry in policy.entries if digest is not None else ():
        try:
            _, key = entry_digest(entry)
        except MeasureError:
            continue
        evidence = store.load(entry.check, digest or "", key)
        if evidence is not None:
            found[entry.name] = evidence
    return found


def _row(
    entry: Entry, n: int, baseline: Evidence | None, earlier: Evidence | None, target: float
) -> PlanRow:
    rule = entry.rule
    spread = spread_of(entry, baseline, earlier)
    refused = _refused(entry, n)
    power_margin = power_limit = power = n_needed = None
    if n > 0:
        power_margin = _power_margin(entry, spread, n)
        power_limit = _power_limit(entry, spread, n)
        power = _power(entry, spread, n)
    if power is not None:
        n_needed = _fewest(lambda m: (_power(entry, spread, m) or 0.0) >= target)
    return PlanRow(
        entry=rule.name,
        check=rule.check,
        tier=rule.tier,
        n=n,
        margin=rule.margin,
        limit=rule.limit.value if rule.limit else None,
        assumptions=spread.said,
        smallest_margin=_smallest_margin(entry, n),
        power_margin=power_margin,
        power_limit=power_limit,
        power=0.0 if refused and power is not None else power,
        n_needed=n_needed,
        refused=refused,
    )


def _power(entry: Entry, spread: Spread, n: int) -> float | None:
    """Of the whole entry; None where a part of it has nothing to be computed from."""
    parts = []
    if entry.rule.margin is not None:
        parts.append(_power_margin(entry, spread, n))
    if entry.rule.limit is not None:
        parts.append(_power_limit(entry, spread, n))
    known = [p for p in parts if p is not None]
    if not known or len(known) < len(parts):
        return None
    return max(0.0, sum(known) - (len(known) - 1))


def _power_margin(entry: Entry, spread: Spread, n: int) -> float | None:
    margin, alpha = entry.rule.margin, entry.rule.alpha
    if margin is None:
        return None
    n = max(int(n / spread.design_effect), 1)
    if entry.row.kind in {"binary", "rare_harm"}:
        if spread.discordance is None or abs(spread.difference) > spread.discordance:
            return None
        if not 0 < margin < 1:
            return 0.0 if margin == 0 else 1.0
        return power_tango(
            n,
            margin=margin,
            discordance=spread.discordance,
            difference=spread.difference,
            alpha=alpha,
        )
    if spread.sd is None:
        return None
    return _power_of_mean(entry, n, margin, spread.sd, spread.difference)


def _power_limit(entry: Entry, spread: Spread, n: int) -> float | None:
    limit, value = entry.rule.limit, spread.value
    if limit is not None and entry.row.kind == "contrasts":
        return _power_contrasts(entry, spread, n, limit.value)
    if limit is None or value is None:
        return None
    n = max(int(n / spread.design_effect), 1)
    if entry.row.kind in {"binary", "rare_harm"}:
        return power_limit_binary(
            n,
            limit=limit.value,
            value=value,
            higher_is_better=limit.min is not None,
            alpha=entry.rule.alpha,
        )
    if spread.value_sd is None:
        return None
    room = value - limit.value if limit.min is not None else limit.value - value
    return _power_of_mean(entry, n, room, spread.value_sd, 0.0)


def _power_contrasts(entry: Entry, spread: Spread, n: int, limit: float) -> float | None:
    """Of all groups within the limit on both sides, where no group truly differs."""
    groups = entry.config.num_groups() if isinstance(entry.config, CountsGroups) else 1
    n = max(int(n / spread.design_effect), 1)
    if spread.discordance is not None:
        if not 0 < limit < 1:
            return 1.0 if limit >= 1 else 0.0
        side = power_tango(
            n,
            margin=limit,
            discordance=spread.discordance,
            difference=0.0,
            alpha=entry.rule.alpha,
        )
    elif spread.sd is not None:
        side = _power_of_mean(entry, n, limit, spread.sd, 0.0)
    else:
        return None
    return max(0.0, 1 - 2 * groups * (1 - side))


def _power_of_mean(entry: Entry, n: int, margin: float, sd: float, difference: float) -> float:
    alpha = entry.rule.alpha
    least = MIN_CLUSTERS_FOR_T
    if entry.row.kind == "bits_per_byte":
        least = MIN_DOCUMENTS
        alpha = alpha if n >= WIDENED_DOCUMENTS else alpha / 2
    if n < least:
        return 0.0
    return power_mean(n, margin=margin, sd=sd, difference=difference, alpha=alpha)


def _smallest_margin(entry: Entry, n: int) -> float | None:
    if entry.rule.margin is None or n <= 0:
        return None
    if entry.row.kind in {"binary", "rare_harm"}:
        return smallest_margin(n, alpha=entry.rule.alpha)
    low, high = entry.row.bounds
    if entry.row.kind == "bits_per_byte" or low is None or high is None:
        return None
    assumed = entry.rule.assumed
    n = max(int(n / assumed.design_effect), 1) if assumed else n
    return sparse_interval(0, n, high - low, alpha=2 * entry.rule.alpha)


def _refused(entry: Entry, n: int) -> str | None:
    rule = entry.rule
    if n < rule.min_items:
        return f"{n} items, the policy asks for {rule.min_items}"
    least = _smallest_margin(entry, n)
    if rule.margin is not None and least is not None and rule.margin <= least:
        needed = _fewest(lambda m: (_smallest_margin(entry, m) or 0.0) < (rule.margin or 0.0))
        return (
            f"{n} items cannot certify a margin of {rule.margin:g}, only above {least:.4g}; "
            f"{'no number of items can' if needed is None else f'needs at least {needed} items'}"
        )
    if entry.row.kind == "bits_per_byte" and n < MIN_DOCUMENTS:
        return f"{n} documents; the jackknife needs {MIN_DOCUMENTS}"
    if rule.limit is not None and entry.row.kind == "contrasts":
        limit = rule.limit.value
        if n and smallest_margin(n, alpha=rule.alpha) >= limit:
            needed = _fewest(lambda m: smallest_margin(m, alpha=rule.alpha) < limit)
            return (
                f"{n} questions a group cannot show a limit of {limit:g} even where no answer "
                f"differs; needs at least {needed} questions"
            )
    if rule.limit is not None and entry.row.kind in {"binary", "rare_harm"}:
        share = rule.limit.value if rule.limit.min is None else 1 - rule.limit.value
        if 0 < share < 1 and n < num_for_zero_harm(share, alpha=rule.alpha):
            needed = num_for_zero_harm(share, alpha=rule.alpha)
            return (
                f"{n} items cannot show a limit of {rule.limit.value:g} even with a spotless "
                f"result; needs at least {needed} items"
            )
    return None


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """Smallest n that is enough, by doubling and bisection; None above a million."""
    high = 1
    while not enough(high):
        high *= 2
        if high > MOST_ITEMS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
