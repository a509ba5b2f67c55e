"""How much an entry's items vary: measured where evidence is there, assumed where not."""

from __future__ import annotations

import math
from statistics import stdev

from eval.compare import Reading, own, pair_up, paired
from eval.judge_accuracy import accuracy_of
from eval.policy import Entry
from eval.stats import paired_score_interval
from registry.evidence import Evidence
from registry.records import Record

Z = 1.959963984540054  # of the 95% intervals that spreads are read back from


class Spread(Record):
    """What the power of one entry is computed from, and where it comes from."""

    difference: float
    design_effect: float = 1.0
    discordance: float | None = None
    sd: float | None = None
    value: float | None = None
    value_sd: float | None = None
    said: str


def spread_of(entry: Entry, baseline: Evidence | None, earlier: Evidence | None) -> Spread:
    """Measured values before assumed ones; last, as if two models erred independently."""
    assumed = entry.rule.assumed
    found: dict[str, tuple[float, str]] = {}
    if entry.row.kind == "contrasts":
        if baseline is not None:
            found = {name: (v, "measured") for name, v in _of_contrasts(baseline).items()}
    elif baseline is not None and baseline.items:
        found = {name: (v, "measured") for name, v in _measured(entry, baseline, earlier).items()}
    for name in ("discordance", "sd", "value", "value_sd", "design_effect"):
        guess = None if assumed is None else getattr(assumed, name)
        if guess is not None and name not in found:
            found[name] = (guess, "assumed")
    value, value_sd = found.get("value"), found.get("value_sd")
    if entry.rule.margin is None:
        pass  # nothing is compared
    elif entry.row.kind in {"binary", "rare_harm"}:
        if value is not None and 0 < value[0] < 1:
            independent = 2 * value[0] * (1 - value[0])
            found.setdefault("discordance", (independent, "as if independent"))
    elif value_sd is not None:
        found.setdefault("sd", (math.sqrt(2) * value_sd[0], "as if independent"))
    said = [
        f"{name.replace('_', ' ')} {number:.3g} ({source})"
        for name, (number, source) in found.items()
        if (name, number) != ("design_effect", 1.0)
    ]
    return Spread(
        difference=assumed.difference if assumed else 0.0,
        said=", ".join(said),
        **{name: number for name, (number, _) in found.items()},
    )


def _measured(entry: Entry, baseline: Evidence, earlier: Evidence | None) -> dict[str, float]:
    is_binary = entry.row.kind in {"binary", "rare_harm"}
    n = len(baseline.items)
    found: dict[str, float] = {}
    judge = accuracy_of(baseline.tables)
    if judge is not None and judge.unusable is not None:
        return found
    alone = own(entry.row, baseline.items, alpha=0.025, judge=judge)
    # None right, or no harm, of n items is no reason to plan as if it could never happen.
    if not is_binary or 0 < alone.estimate < 1:
        found["value"] = alone.estimate
    if not is_binary and (sd := _sd(alone, n)):
        found["value_sd"] = sd
    if earlier is None or {i.key for i in earlier.items} != {i.key for i in baseline.items}:
        return found
    pairs = pair_up(entry.row, earlier.items, baseline.items)
    reading = paired(entry.row, pairs, alpha=0.025, judge=judge)
    if not is_binary:
        if sd := _sd(reading, n):
            found |= {"sd": sd, "design_effect": 1.0}  # clusters are in the interval already
        return found
    lost = sum(p.candidate < p.baseline for p in pairs)
    won = sum(p.candidate > p.baseline for p in pairs)
    if lost + won:
        low, high = paired_score_interval(lost, won, n)
        effect = ((reading.high - reading.low) / (high - low)) ** 2
        found |= {"discordance": (lost + won) / n, "design_effect": max(1.0, effect)}
    return found


def _of_contrasts(baseline: Evidence) -> dict[str, float]:
    """How often, and how much, the two versions of a question differ, over all groups."""
    values = [item.value for item in baseline.items if item.group and item.value is not None]
    if len(values) < 2:
        return {}
    if all(value in {-1, 0, 1} for value in values):
        share = sum(value != 0 for value in values) / len(values)
        return {"discordance": share} if share else {}
    sd = stdev(values)
    return {"sd": sd} if sd else {}


def _sd(reading: Reading, n: int) -> float | None:
    """Of one item, as the interval of ``n`` implies it; None where it implies none."""
    sd = (reading.high - reading.low) / 2 / Z * math.sqrt(n)
    return sd if math.isfinite(sd) and sd > 0 else None
