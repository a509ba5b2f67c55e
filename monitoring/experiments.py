"""Read an A/B experiment: who was served what, what people said of it, and what to do now.

    read_out({"a": 0.5, "b": 0.5}, ledger.requests("spring"), feedback)

Pure: records in, a value out. The first arm of the plan is the control. One metric is
primary and decides, the thumbs-up share by default; the others and the segments are shown
beside it. All intervals hold at every look.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from monitoring.bandit import Outcomes
from monitoring.bandit import shares as bandit_shares
from monitoring.decisions import Comparison, Decision, ReadOutOptions, compare, decide
from monitoring.guardrails import Guardrail, GuardrailFinding, judge_guardrail, split_alpha
from monitoring.inference import (
    Difference,
    Interval,
    Moments,
    always_valid_difference,
    always_valid_mean,
    always_valid_share,
    balance_pvalue,
    fixed_horizon_difference,
    required_sample,
    required_sample_of_means,
    srm_pvalue,
)
from monitoring.outcomes import (
    SILENCE,
    ExperimentError,
    Metric,
    Sorted,
    Voices,
    is_error,
    metric_named,
    sort_in,
    unit_means,
    voices_of,
)
from monitoring.pairwise import Pair, PairedReadOut, bradley_terry, read_pairs
from registry.records import Record
from registry.served import FeedbackRecord, RequestRecord

__all__ = [
    "ArmReadOut",
    "Comparison",
    "Difference",
    "Estimate",
    "ExperimentError",
    "Guardrail",
    "GuardrailFinding",
    "Moments",
    "Outcomes",
    "PairedReadOut",
    "ReadOut",
    "ReadOutOptions",
    "always_valid_difference",
    "always_valid_share",
    "bandit_shares",
    "bradley_terry",
    "fixed_horizon_difference",
    "judge_guardrail",
    "metric_named",
    "read_out",
    "required_sample",
    "split_alpha",
    "srm_pvalue",
]

EQUAL_LOAD = 1.25  # arms' loads within this ratio count as equal
PAIRED_METRICS = ("errors", "completion_tokens")


class ArmReadOut(Record):
    """One arm. None means undefined: nothing was observed. Latencies are milliseconds.

    ``units`` were assigned to this arm alone (its exposures); ``responding_units`` gave any
    feedback, ``rating_units`` a thumb. ``thumbs_up_share`` is the mean over rating units,
    its interval always valid. ``response_rate`` is responding over assigned units.
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
    thumbs_up_interval: Interval | None
    response_rate: float | None
    median_ttft_ms: float | None
    median_duration_ms: float | None


class Estimate(Record):
    """A metric's mean over units of an arm, in all units or in one segment.

    ``difference`` is the arm minus the control, None for the control itself, while
    undefined, and where ``withheld`` says why it may not be compared. Intervals are
    always valid, at alpha each: of all the rows together some will miss.
    """

    metric: str
    segment: str | None
    """``key=value``; None for all units."""
    variant: str
    units: int
    mean: float | None
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    withheld: str | None = None


class ReadOut(Record):
    """An experiment as it stands. ``decision`` is for people; nothing acts on it by itself.

    ``srm_p`` compares units with the plan, None where the weights changed under way;
    ``response_balance_p`` compares the share of units that gave feedback, None where there
    is nothing to compare. ``units_in_several_arms`` are crossovers. ``excluded`` counts
    requests by reason. ``required_units_per_arm`` is what one look at a fixed horizon would
    need for the smallest effect; a sequence needs two to three times that.
    ``pairs`` are shadows beside the variants whose prompts they copied.
    """

    arms: tuple[ArmReadOut, ...]
    primary: str
    comparisons: tuple[Comparison, ...]
    estimates: tuple[Estimate, ...]
    pairs: tuple[PairedReadOut, ...]
    srm_p: float | None
    response_balance_p: float | None
    pinned_requests: int
    requests_without_unit: int
    requests_outside_plan: int
    excluded: dict[str, int]
    units_in_several_arms: int
    required_units_per_arm: int | None
    decision: Decision
    reason: str
    warnings: tuple[str, ...]


def read_out(
    weights: Mapping[str, float],
    requests: Iterable[RequestRecord],
    feedback: Iterable[FeedbackRecord],
    options: ReadOutOptions | None = None,
    *,
    scores: Mapping[str, Mapping[str, float]] | None = None,
) -> ReadOut:
    """The experiment's arms, their comparison with the first arm, and a decision.

    ``scores`` are a scorer's, by request id and name. Left out and counted: pinned and
    excluded requests, requests without a unit, variants that are not in ``weights``, and
    units that several arms answered. Raises ExperimentError for a plan without arms or
    with a weight below 0, and for a metric that there is not.
    """
    options = options or ReadOutOptions()
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ExperimentError(
            f"an experiment needs arms with weights of 0 or more and a sum above 0, got "
            f"{dict(weights)}; correct the weights of the serving plan"
        )
    primary = metric_named(options.primary)
    found = sort_in(weights, requests)
    voices = voices_of(feedback, scores or {})
    arms = {
        variant: _arm(variant, weight, found.of_arm.get(variant, []), voices, options)
        for variant, weight in weights.items()
    }
    control, *challengers = [variant for variant, weight in weights.items() if weight > 0]
    units = {name: unit_means(primary, found.of_arm.get(name, []), voices) for name in weights}
    history = unit_means(primary, found.held_back, voices)
    per_comparison = options.alpha / max(len(challengers), 1)
    comparisons = tuple(
        compare(primary, name, control, units, history, per_comparison, options)
        for name in challengers
    )
    changed = _weights_changed(found)
    exposed = {name: arm.units for name, arm in arms.items()}
    srm_p = None if changed else srm_pvalue(exposed, weights)
    compared = (control, *challengers)
    balance_p = balance_pvalue(
        {name: arms[name].responding_units for name in compared},
        {name: arms[name].units for name in compared},
    )
    decision, reason = decide(comparisons, srm_p, balance_p, options)
    return ReadOut(
        arms=tuple(arms.values()),
        primary=primary.name,
        comparisons=comparisons,
        estimates=tuple(_estimates(compared, found, voices, options)),
        pairs=tuple(_pairs(found, voices, options)),
        srm_p=srm_p,
        response_balance_p=balance_p,
        pinned_requests=found.left_out.get("pinned", 0),
        requests_without_unit=found.left_out.get("no-unit", 0),
        requests_outside_plan=found.left_out.get("outside-plan", 0),
        excluded=dict(sorted(found.left_out.items())),
        units_in_several_arms=found.crossed_units,
        required_units_per_arm=_required(primary, list(units[control].values()), options),
        decision=decision,
        reason=reason,
        warnings=_warnings(arms, found.crossed_units, balance_p, changed, options),
    )


def _arm(
    variant: str,
    weight: float,
    requests: list[RequestRecord],
    voices: Mapping[str, Voices],
    options: ReadOutOptions,
) -> ArmReadOut:
    said = {r.request_id: voices.get(r.request_id, SILENCE) for r in requests}
    units = {request.unit_digest for request in requests}
    responding = {r.unit_digest for r in requests if said[r.request_id].feedback}
    thumbs = metric_named("thumbs_up")
    all_thumbs = [thumbs.value(request, said[request.request_id]) for request in requests]
    shares = list(unit_means(thumbs, requests, voices).values())
    answered = [request for request in requests if request.status == 200]
    return ArmReadOut(
        variant=variant,
        weight=weight,
        checkpoints=tuple(sorted({request.checkpoint for request in requests})),
        requests=len(requests),
        errors=sum(map(is_error, requests)),
        units=len(units),
        responding_units=len(responding),
        rating_units=len(shares),
        thumbs_up=all_thumbs.count(1.0),
        thumbs_down=all_thumbs.count(0.0),
        thumbs_up_share=statistics.fmean(shares) if shares else None,
        thumbs_up_interval=_interval(thumbs, shares, options),
        response_rate=len(responding) / len(units) if units else None,
        median_ttft_ms=_median(request.ttft_ms for request in answered),
        median_duration_ms=_median(request.duration_ms for request in answered),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _interval(metric: Metric, values: list[float], options: ReadOutOptions) -> Interval | None:
    """Of an arm's mean; exact for shares, None where an asymptotic one says nothing yet."""
    expected = options.num_expected_units / 2
    if metric.bounded and values:
        total = min(sum(values), len(values))
        return always_valid_share(total, len(values), num_expected=expected, alpha=options.alpha)
    if len(values) < options.min_units:
        return None
    return always_valid_mean(Moments.of_values(values), num_expected=expected, alpha=options.alpha)


def _estimates(
    arms: tuple[str, ...], found: Sorted, voices: Mapping[str, Voices], options: ReadOutOptions
) -> Iterator[Estimate]:
    """Every metric, in all units and in each segment that was seen, for each arm."""
    segments: list[tuple[str, str] | None] = [None]
    for key in options.segments:
        seen = {(r.segments or {}).get(key) for name in arms for r in found.of_arm.get(name, [])}
        segments += [(key, value) for value in sorted(one for one in seen if one is not None)]
    unequal = None if options.separate_pools else _unequal_load(arms, found)
    for metric in map(metric_named, (options.primary, *options.metrics)):
        for segment in segments:
            base: list[float] = []
            for name in arms:
                requests = [
                    request
                    for request in found.of_arm.get(name, [])
                    if segment is None or (request.segments or {}).get(segment[0]) == segment[1]
                ]
                values = list(unit_means(metric, requests, voices).values())
                base = values if name == arms[0] else base
                withheld = unequal if metric.latency and name != arms[0] else None
                gap = None
                if name != arms[0] and withheld is None:
                    gap = _difference(base, values, options)
                yield Estimate(
                    metric=metric.name,
                    segment="=".join(segment) if segment else None,
                    variant=name,
                    units=len(values),
                    mean=statistics.fmean(values) if values else None,
                    interval=_interval(metric, values, options),
                    difference=gap.estimate if gap else None,
                    difference_interval=(gap.low, gap.high) if gap else None,
                    withheld=withheld,
                )


def _difference(
    control: list[float], treated: list[float], options: ReadOutOptions
) -> Difference | None:
    if min(len(control), len(treated)) < options.min_units:
        return None
    return always_valid_difference(
        Moments.of_values(control),
        Moments.of_values(treated),
        num_expected=options.num_expected_units,
        alpha=options.alpha,
    )


def _unequal_load(arms: tuple[str, ...], found: Sorted) -> str | None:
    """Why latencies of the arms may not be compared; by Little's law load is busy time."""
    busy = {name: found.busy_ms.get(name, 0.0) for name in arms}
    if min(busy.values()) > 0 and max(busy.values()) <= EQUAL_LOAD * min(busy.values()):
        return None
    loads = ", ".join(f"{name} {value / 1000:.0f} s" for name, value in busy.items())
    return (
        f"the arms were not under equal load (time spent answering: {loads}); give them "
        "separate pools or even weights to compare latency"
    )


def _pairs(
    found: Sorted, voices: Mapping[str, Voices], options: ReadOutOptions
) -> Iterator[PairedReadOut]:
    """Each shadow beside the answers to the same prompts that users got."""
    live = {r.request_id: r for requests in found.of_arm.values() for r in requests}
    by_shadow: dict[str, list[tuple[RequestRecord, RequestRecord]]] = defaultdict(list)
    for shadow in found.shadows:
        original = live.get(shadow.shadow_of or "")
        if original is not None:
            by_shadow[shadow.variant].append((original, shadow))
    scores = [name for name in options.metrics if name.startswith("score:")]
    for name, pairs in sorted(by_shadow.items()):
        for metric in map(metric_named, (*PAIRED_METRICS, *scores)):
            made = []
            for original, shadow in pairs:
                values = [
                    metric.value(one, voices.get(one.request_id, SILENCE))
                    for one in (original, shadow)
                ]
                if values[0] is not None and values[1] is not None:
                    made.append(Pair(original.unit_digest or "", values[0], values[1]))
            expected = options.num_expected_units
            yield read_pairs(metric.name, name, made, num_expected=expected, alpha=options.alpha)


def _required(metric: Metric, control: list[float], options: ReadOutOptions) -> int | None:
    """Units per arm for the smallest effect from the control's values; None while unknown."""
    if len(control) < options.min_units:
        return None
    moments = Moments.of_values(control)
    if metric.bounded:
        step = options.smallest_effect
        other = moments.mean + step if moments.mean + step <= 1 else moments.mean - step
        if 0 <= other <= 1:
            return required_sample(moments.mean, other, alpha=options.alpha)
    if moments.variance == 0:
        return None
    return required_sample_of_means(moments.variance, options.smallest_effect, alpha=options.alpha)


def _weights_changed(found: Sorted) -> bool:
    return any(
        len({request.propensity for request in requests}) > 1 for requests in found.of_arm.values()
    )


def _warnings(
    arms: Mapping[str, ArmReadOut],
    crossed: int,
    balance_p: float | None,
    changed: bool,
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
    if changed:
        found.append(
            "weights changed under way: the sample ratio is not tested, and plain means mix "
            "what was seen under different weights"
        )
    if balance_p is not None and balance_p < options.alarm:
        found.append(f"units give feedback at different rates in the arms (p = {balance_p:.2g})")
    return tuple(found)
