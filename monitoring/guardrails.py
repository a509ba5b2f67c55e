"""Guardrails of a running experiment: one-sided sequences on harm that may stop a variant.

A guardrail's metric is oriented so that more is worse (errors, TTFT, toxicity, thumbs
down). Every look at every time is covered: the chance that a variant which does no more
harm than allowed is ever stopped stays below alpha, over all guardrails and variants.
Shares use exact sequences, so that they speak from the first units on and where an arm
has no variance; numbers use the asymptotic one and keep silent below MIN_UNITS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from monitoring.inference import (
    Moments,
    one_sided_half_width,
    share_high,
    share_low,
    tuned_rho,
)
from registry.records import Record

MIN_UNITS = 30  # of each arm, for sequences that are asymptotic

GuardrailState = Literal["within", "breach", "too-few", "no-samples"]


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """``limit`` bounds the variant's own mean; ``margin`` what it may exceed the control by."""

    metric: str
    bounded: bool
    """Whether every value lies in [0, 1]."""
    limit: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        if (self.limit is None) == (self.margin is None):
            raise ValueError(f"guardrail {self.metric}: set exactly one of limit and margin")


class GuardrailFinding(Record):
    """What one look says. ``low`` is the always-valid lower bound of the harm.

    Harm is the variant's mean, or for a margin its mean minus the control's; None while
    nothing is known. ``no-samples`` is no pass: who asks must pause.
    """

    variant: str
    metric: str
    state: GuardrailState
    num_units: int
    harm: float | None
    low: float | None
    allowed: float
    alpha: float
    reason: str


def split_alpha(alpha: float, *, num_guardrails: int, num_variants: int) -> float:
    """Each guardrail's share of the error rate on each variant (Bonferroni)."""
    if num_guardrails < 1 or num_variants < 1:
        raise ValueError("alpha is split over at least one guardrail and one variant")
    return alpha / (num_guardrails * num_variants)


def judge_guardrail(
    rail: Guardrail,
    variant: str,
    treated: Moments | None,
    control: Moments | None,
    *,
    alpha: float,
    num_expected: float,
) -> GuardrailFinding:
    """One guardrail on one variant now; None for an arm without samples.

    ``num_expected`` is the number of units per arm at which the sequence is narrowest.
    Source of the sequences: see ``monitoring.inference``.
    """
    allowed = rail.limit if rail.limit is not None else rail.margin
    assert allowed is not None
    compared = rail.margin is not None
    harm: float | None = None
    low: float | None = None
    state: GuardrailState = "no-samples"
    if treated is None:
        reason = f"{variant} has no sample of {rail.metric}"
    elif compared and control is None:
        reason = f"the control has no sample of {rail.metric}"
    else:
        harm = treated.mean - (control.mean if compared and control is not None else 0.0)
        base = control if compared else None
        if rail.bounded:
            low = _low_of_shares(treated, base, alpha, num_expected)
        else:
            low = _low_of_numbers(treated, base, harm, alpha, num_expected)
        what = f"{rail.metric} of {variant}" + (" minus the control's" if compared else "")
        if low is None:
            state = "too-few"
            reason = f"{what}: fewer than {MIN_UNITS} units in an arm, or all values alike"
        elif low > allowed:
            state = "breach"
            reason = f"{what} is {harm:.4g}, above {allowed:g} (always-valid bound {low:.4g})"
        else:
            state = "within"
            reason = f"{what} is {harm:.4g}; not shown to be above {allowed:g}"
    return GuardrailFinding(
        variant=variant,
        metric=rail.metric,
        state=state,
        num_units=0 if treated is None else treated.n,
        harm=harm,
        low=low,
        allowed=allowed,
        alpha=alpha,
        reason=reason,
    )


def _low_of_shares(
    treated: Moments, control: Moments | None, alpha: float, num_expected: float
) -> float:
    """Exact; against a control each arm's sequence takes half of alpha."""
    per_arm = alpha if control is None else alpha / 2
    total = min(treated.mean * treated.n, treated.n)
    low = share_low(total, treated.n, num_expected=num_expected, alpha=per_arm)
    if control is None:
        return low
    total = min(control.mean * control.n, control.n)
    return low - share_high(total, control.n, num_expected=num_expected, alpha=per_arm)


def _low_of_numbers(
    treated: Moments, control: Moments | None, harm: float, alpha: float, num_expected: float
) -> float | None:
    arms = [treated] if control is None else [treated, control]
    n = sum(arm.n for arm in arms)
    variance = n * sum(arm.variance / arm.n for arm in arms)
    if min(arm.n for arm in arms) < MIN_UNITS or variance == 0:
        return None
    rho = tuned_rho(num_expected * len(arms), alpha=2 * alpha)
    return harm - one_sided_half_width(n, math.sqrt(variance), rho, alpha=alpha)
