"""Read an A/B experiment: who was served what, what people said of it, and what to do now.

    read_out({"a": 0.5, "b": 0.5}, ledger.requests("spring"), feedback)

Pure: records in, a value out. The first arm of the plan is the control. The outcome is
the thumbs-up share, one number per unit (the mean over that unit's thumbs; the latest
thumb on an answer counts), because arms are assigned by unit and answers to one person
are not independent. All intervals hold at every look.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from monitoring.inference import (
    Difference,
    Moments,
    always_valid_difference,
    always_valid_share,
    balance_pvalue,
    bradley_terry,
    fixed_horizon_difference,
    required_sample,
    srm_pvalue,
)
from registry.records import Record, UserError
from registry.served import FeedbackRecord, RequestRecord

__all__ = [
    "ArmReadOut",
    "Comparison",
    "Difference",
    "ExperimentError",
    "Moments",
    "ReadOut",
    "ReadOutOptions",
    "always_valid_difference",
    "always_valid_share",
    "bradley_terry",
    "fixed_horizon_difference",
    "read_out",
    "required_sample",
    "srm_pvalue",
]

Decision = Literal["continue", "ship", "stop", "no-difference"]


class ExperimentError(UserError):
    """The plan of an experiment cannot be read out."""


@dataclass(frozen=True, kw_only=True)
class ReadOutOptions:
    """How sure, and how large a difference matters."""

    alpha: float = 0.05
    """Chance of any wrong decision over all looks and all challengers together."""
    num_expected_units: int = 1000
    """Units with a thumb, over all arms, at which intervals should be narrowest."""
    smallest_effect: float = 0.05
    """Differences of the thumbs-up share below this do not matter, in (0, 1)."""
    min_units: int = 30
    """Units with a thumb in each arm before any decision: the sequence is asymptotic."""
    alarm: float = 0.001
    """Below this p, units or responses are not split as planned."""


class ArmReadOut(Record):
    """One arm. None means undefined: nothing was observed. Latencies are milliseconds.

    ``units`` were assigned to this arm alone; ``responding_units`` gave any feedback,
    ``rating_units`` a thumb. ``thumbs_up_share`` is the mean over rating units, its
    interval always valid. ``response_rate`` is responding over assigned units.
    Latencies are those of answered requests (status 200).
    """

    variant: str
    weight: float
    checkpoints: tuple[str, ...]
    requests: int
    errors: int
    units: int
    responding_units: int
    rating_units: int
    thumbs_up: int
    thumbs_down: int
    thumbs_up_share: float | None
    thumbs_up_interval: tuple[float, float] | None
    response_rate: float | None
    median_ttft_ms: float | None
    median_duration_ms: float | None


class Comparison(Record):
    """A challenger minus the control in thumbs-up share; None while undefined."""

    challenger: str
    control: str
    difference: float | None
    interval: tuple[float, float] | None
    decision: Decision
    reason: str


class ReadOut(Record):
    """An experiment as it stands. ``decision`` is for people; nothing acts on it by itself.

    ``srm_p`` compares units with the plan; ``response_balance_p`` compares the share of
    units that gave feedback, None where there is nothing to compare.
    """

    arms: tuple[ArmReadOut, ...]
    comparisons: tuple[Comparison, ...]
    srm_p: float
    response_balance_p: float | None
    pinned_requests: int
    requests_without_unit: int
    requests_outside_plan: int
    units_in_several_arms: int
    decision: Decision
    reason: str
    warnings: tuple[str, ...]


def read_out(
    weights: Mapping[str, float],
    requests: Iterable[RequestRecord],
    feedback: Iterable[FeedbackRecord],
    options: ReadOutOptions | None = None,
) -> ReadOut:
    """The experiment's arms, their comparison with the first arm, and a decision.

    Left out and counted: pinned requests, requests without a unit, variants that are not
    in ``weights``, and units that several arms answered. Raises ExperimentError for a
    plan without arms or with a weight below 0.
    """
    options = options or ReadOutOptions()
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ExperimentError(
            f"an experiment needs arms with weights of 0 or more and a sum above 0, got "
            f"{dict(weights)}; correct the weights of the serving plan"
        )
    sorted_in = _sort_in(weights, requests)
    said = _by_request(feedback)
    data = {
        variant: _arm(variant, weight, sorted_in.of_arm.get(variant, []), said, options)
        for variant, weight in weights.items()
    }
    arms = {variant: arm for variant, (arm, _) in data.items()}
    control, *challengers = [variant for variant, weight in weights.items() if weight > 0]
    per_comparison = options.alpha / max(len(challengers), 1)
    comparisons = tuple(
        _compare(name, control, data[name][1], data[control][1], per_comparison, options)
        for name in challengers
    )
    srm_p = srm_pvalue({name: arm.units for name, arm in arms.items()}, weights)
    balance_p = balance_pvalue(
        {name: arms[name].responding_units for name in (control, *challengers)},
        {name: arms[name].units for name in (control, *challengers)},
    )
    decision, reason = _decide(comparisons, srm_p, balance_p, options)
    return ReadOut(
        arms=tuple(arms.values()),
        comparisons=comparisons,
        srm_p=srm_p,
        response_balance_p=balance_p,
        pinned_requests=sorted_in.pinned,
        requests_without_unit=sorted_in.without_unit,
        requests_outside_plan=sorted_in.outside,
        units_in_several_arms=sorted_in.crossed,
        decision=decision,
        reason=reason,
        warnings=_warnings(arms, sorted_in.crossed, balance_p, options),
    )


@dataclass(frozen=True)
class _SortedIn:
    of_arm: dict[str, list[RequestRecord]]
    pinned: int
    without_unit: int
    outside: int
    crossed: int


def _sort_in(weights: Mapping[str, float], requests: Iterable[RequestRecord]) -> _SortedIn:
    pinned = without_unit = outside = 0
    kept: list[RequestRecord] = []
    arms_of_unit: dict[str, set[str]] = defaultdict(set)
    for request in requests:
        if request.pinned:
            pinned += 1
        elif request.unit_digest is None:
            without_unit += 1
        elif request.variant not in weights:
            outside += 1
        else:
            kept.append(request)
            arms_of_unit[request.unit_digest].add(request.variant)
    crossed = {unit for unit, arms in arms_of_unit.items() if len(arms) > 1}
    of_arm: dict[str, list[RequestRecord]] = defaultdict(list)
    for request in kept:
        if request.unit_digest not in crossed:
            of_arm[request.variant].append(request)
    return _SortedIn(of_arm, pinned, without_unit, outside, len(crossed))


def _by_request(feedback: Iterable[FeedbackRecord]) -> dict[str, list[FeedbackRecord]]:
    """Feedback by request id, oldest first."""
    by_request: dict[str, list[FeedbackRecord]] = defaultdict(list)
    for record in sorted(feedback, key=lambda record: record.created_at):
        by_request[record.request_id].append(record)
    return by_request


def _arm(
    variant: str,
    weight: float,
    requests: list[RequestRecord],
    said: Mapping[str, list[FeedbackRecord]],
    options: ReadOutOptions,
) -> tuple[ArmReadOut, Moments | None]:
    """The arm, and the moments of its units' thumbs-up shares (None without thumbs)."""
    thumbs_of_unit: dict[str, list[bool]] = defaultdict(list)
    responding: set[str] = set()
    units: set[str] = set()
    for request in requests:
        unit = request.unit_digest or ""
        units.add(unit)
        voices = said.get(request.request_id, [])
        if voices:
            responding.add(unit)
        thumbs = [record.value for record in voices if record.kind == "thumb"]
        if thumbs:
            thumbs_of_unit[unit].append(thumbs[-1] == 1)
    shares = [sum(thumbs) / len(thumbs) for thumbs in thumbs_of_unit.values()]
    num_up = sum(sum(thumbs) for thumbs in thumbs_of_unit.values())
    num_thumbs = sum(len(thumbs) for thumbs in thumbs_of_unit.values())
    moments = Moments.of_values(shares) if shares else None
    interval = always_valid_share(
        min(sum(shares), len(shares)),
        len(shares),
        num_expected=options.num_expected_units / 2,
        alpha=options.alpha,
    )
    answered = [request for request in requests if request.status == 200]
    arm = ArmReadOut(
        variant=variant,
        weight=weight,
        checkpoints=tuple(sorted({request.checkpoint for request in requests})),
        requests=len(requests),
        errors=sum(request.status >= 500 for request in requests),
        units=len(units),
        responding_units=len(responding),
        rating_units=len(shares),
        thumbs_up=num_up,
        thumbs_down=num_thumbs - num_up,
        thumbs_up_share=None if moments is None else moments.mean,
        thumbs_up_interval=None if moments is None else interval,
        response_rate=len(responding) / len(units) if units else None,
        median_ttft_ms=_median(request.ttft_ms for request in answered),
        median_duration_ms=_median(request.duration_ms for request in answered),
    )
    return arm, moments


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _compare(
    name: str,
    control: str,
    treated: Moments | None,
    base: Moments | None,
    alpha: float,
    options: ReadOutOptions,
) -> Comparison:
    counts = (0 if base is None else base.n, 0 if treated is None else treated.n)
    found = (
        None
        if base is None or treated is None
        else always_valid_difference(
            base, treated, num_expected=options.num_expected_units, alpha=alpha
        )
    )
    decision: Decision = "continue"
    if min(counts) < options.min_units:
        reason = (
            f"{control} has {counts[0]} units with a thumb and {name} has {counts[1]}; "
            f"{options.min_units} in each come before any decision"
        )
    elif found is None:
        reason = f"all thumbs of {control} and {name} are alike so far: no variance, no interval"
    elif found.low > 0:
        decision, reason = "ship", f"{name} gets more thumbs up than {control}"
    elif found.high < 0:
        decision, reason = "stop", f"{name} gets fewer thumbs up than {control}"
    elif max(-found.low, found.high) < options.smallest_effect:
        decision = "no-difference"
        reason = f"{name} and {control} differ by less than {options.smallest_effect:g}"
    else:
        reason = f"the interval of {name} minus {control} still holds 0 and larger differences"
    if found is not None:
        reason += f" ({found.estimate:+.3f}, always-valid [{found.low:+.3f}, {found.high:+.3f}])"
    return Comparison(
        challenger=name,
        control=control,
        difference=None if found is None else found.estimate,
        interval=None if found is None else (found.low, found.high),
        decision=decision,
        reason=reason,
    )


def _decide(
    comparisons: tuple[Comparison, ...],
    srm_p: float,
    balance_p: float | None,
    options: ReadOutOptions,
) -> tuple[Decision, str]:
    """One decision over all challengers; a broken split comes before everything."""
    if srm_p < options.alarm:
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
        best = max(winners, key=lambda c: c.difference or 0.0)
        return "ship", best.reason
    if by_decision["continue"]:
        return "continue", "; ".join(c.reason for c in by_decision["continue"])
    settled = by_decision["no-difference"] or by_decision["stop"]
    return settled[0].decision, "; ".join(c.reason for c in settled)


def _warnings(
    arms: Mapping[str, ArmReadOut],
    crossed: int,
    balance_p: float | None,
    options: ReadOutOptions,
) -> tuple[str, ...]:
    found = [
        f"arm {name} answered with {len(arm.checkpoints)} checkpoints; an experiment "
        f"compares one per arm: start a new one when a checkpoint changes"
        for name, arm in arms.items()
        if len(arm.checkpoints) > 1
    ]
    if crossed:
        found.append(f"{crossed} units were answered by several arms and are left out")
    if balance_p is not None and balance_p < options.alarm:
        found.append(f"units give feedback at different rates in the arms (p = {balance_p:.2g})")
    return tuple(found)
