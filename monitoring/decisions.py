"""What to do about an experiment: each challenger against the control, then all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from monitoring.cuped import adjust
from monitoring.inference import Moments, always_valid_difference
from monitoring.outcomes import Metric
from registry.records import Record

Decision = Literal["continue", "ship", "stop", "no-difference"]


@dataclass(frozen=True, kw_only=True)
class ReadOutOptions:
    """How sure, how large a difference matters, and what is looked at."""

    alpha: float = 0.05
    """Chance of any wrong decision over all looks and all challengers together."""
    num_expected_units: int = 1000
    """Units with a value, over all arms, at which intervals should be narrowest."""
    primary: str = "thumbs_up"
    """The metric that decides; a name of ``monitoring.outcomes``."""
    smallest_effect: float = 0.05
    """Differences of the primary metric below this do not matter, above 0."""
    min_units: int = 30
    """Units with a value in each arm before any decision: the sequence is asymptotic."""
    alarm: float = 0.001
    """Below this p, units or responses are not split as planned."""
    metrics: tuple[str, ...] = ("errors", "ttft_ms", "duration_ms", "completion_tokens")
    """Shown beside the primary one; they decide nothing."""
    segments: tuple[str, ...] = ()
    """Keys of the requests' segments to look into; exploratory, at alpha each."""
    separate_pools: bool = False
    """Whether no two arms share a machine; else latency is compared under equal load only."""


class Comparison(Record):
    """A challenger minus the control in the primary metric; None while undefined.

    ``variance_kept`` is below 1 where history took noise out (see ``monitoring.cuped``),
    None where there was none.
    """

    challenger: str
    control: str
    difference: float | None
    interval: tuple[float, float] | None
    variance_kept: float | None = None
    decision: Decision
    reason: str


def compare(
    metric: Metric,
    name: str,
    control: str,
    units: Mapping[str, Mapping[str, float]],
    history: Mapping[str, float],
    alpha: float,
    options: ReadOutOptions,
) -> Comparison:
    """``units`` are the primary metric's means by arm and unit; ``history`` those from before."""
    pair = {arm: units.get(arm, {}) for arm in (control, name)}
    counts = {arm: len(values) for arm, values in pair.items()}
    adjusted = adjust(pair, history) if history and min(counts.values()) else None
    found = None
    if min(counts.values()):
        moments = (
            adjusted.arms
            if adjusted
            else {arm: Moments.of_values(list(values.values())) for arm, values in pair.items()}
        )
        found = always_valid_difference(
            moments[control], moments[name], num_expected=options.num_expected_units, alpha=alpha
        )
    sign = 1 if metric.higher_is_better else -1
    decision: Decision = "continue"
    if min(counts.values()) < options.min_units:
        reason = (
            f"{control} has {counts[control]} units with {metric.name} and {name} has "
            f"{counts[name]}; {options.min_units} in each come before any decision"
        )
    elif found is None:
        reason = f"all {metric.name} of {control} and {name} are alike so far: no interval"
    elif min(sign * found.low, sign * found.high) > 0:
        decision, reason = "ship", f"{name} is better than {control} in {metric.name}"
    elif max(sign * found.low, sign * found.high) < 0:
        decision, reason = "stop", f"{name} is worse than {control} in {metric.name}"
    elif max(-found.low, found.high) < options.smallest_effect:
        decision = "no-difference"
        reason = (
            f"{name} and {control} differ by less than {options.smallest_effect:g} in {metric.name}"
        )
    else:
        reason = f"the interval of {name} minus {control} still holds 0 and larger differences"
    if found is not None:
        reason += f" ({found.estimate:+.3f}, always-valid [{found.low:+.3f}, {found.high:+.3f}])"
    return Comparison(
        challenger=name,
        control=control,
        difference=None if found is None else found.estimate,
        interval=None if found is None else (found.low, found.high),
        variance_kept=adjusted.variance_kept if adjusted else None,
        decision=decision,
        reason=reason,
    )


def decide(
    comparisons: Sequence[Comparison],
    srm_p: float | None,
    balance_p: float | None,
    options: ReadOutOptions,
) -> tuple[Decision, str]:
    """One decision over all challengers; a broken split comes before everything."""
    if srm_p is not None and srm_p < options.alarm:
        return "stop", (
            f"sample ratio mismatch (p = {srm_p:.2g}): units are not split as planned, so no "
            f"number here can be trusted; find out which requests are missing or doubled"
        )
    if not comparisons:
        return "continue", "one arm only: there is nothing to compare"
    by_decision = {
        decision: [c for c in comparisons if c.decision == decision]
        for decision in ("ship", "continue", "no-difference", "stop")
    }
    winners = by_decision["ship"]
    if winners and balance_p is not None and balance_p < options.alarm:
        return "continue", (
            f"{winners[0].reason}; but people answer at different rates in the arms "
            f"(p = {balance_p:.2g}), so who is silent may explain it: compare that first"
        )
    if winners:
        best = max(winners, key=lambda c: abs(c.difference or 0.0))
        return "ship", best.reason
    if by_decision["continue"]:
        return "continue", "; ".join(c.reason for c in by_decision["continue"])
    settled = by_decision["no-difference"] or by_decision["stop"]
    return settled[0].decision, "; ".join(c.reason for c in settled)
