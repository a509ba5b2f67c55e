"""What is measured of an experiment's answers: one row per metric, one number per unit.

Arms are assigned by unit and answers to one person are not independent, so the values of
a unit's requests are averaged first. A metric's value is None where a request has none.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from registry.records import UserError, describe_unknown
from registry.served import FeedbackRecord, RequestRecord


class ExperimentError(UserError):
    """The plan of an experiment cannot be read out."""


@dataclass(frozen=True)
class Voices:
    """What became known of one request afterwards: feedback, oldest first, and scores."""

    feedback: tuple[FeedbackRecord, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


SILENCE = Voices()
Value = Callable[[RequestRecord, Voices], float | None]


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    value: Value
    higher_is_better: bool
    bounded: bool = False
    """Whether every value lies in [0, 1]."""
    latency: bool = False
    """Whether arms that share a machine contaminate each other's values."""


def _newest(kind: str) -> Value:
    """The latest of this kind on an answer: a changed mind counts once."""

    def value(_: RequestRecord, voices: Voices) -> float | None:
        said = [one.value for one in voices.feedback if one.kind == kind]
        return said[-1] if said else None

    return value


def _thumb(wanted: int) -> Value:
    newest = _newest("thumb")

    def value(request: RequestRecord, voices: Voices) -> float | None:
        said = newest(request, voices)
        return None if said is None else float(said == wanted)

    return value


def _answered(name: str) -> Value:
    """A field of the request's record, for answers with status 200."""

    def value(request: RequestRecord, _: Voices) -> float | None:
        found = getattr(request, name) if request.status == 200 else None
        return None if found is None else float(found)

    return value


def is_error(request: RequestRecord) -> bool:
    """Whether the engine failed the request, before or after the status line."""
    return request.status >= 500 or request.finish_reason in ("error", "abort")


METRICS = (
    Metric("thumbs_up", "share of rated answers", _thumb(1), True, bounded=True),
    Metric("thumbs_down", "share of rated answers", _thumb(-1), False, bounded=True),
    Metric("rating", "1 to 5", _newest("rating"), True),
    Metric("errors", "share of requests", lambda r, _: float(is_error(r)), False, bounded=True),
    Metric("ttft_ms", "ms", _answered("ttft_ms"), False, latency=True),
    Metric("duration_ms", "ms", _answered("duration_ms"), False, latency=True),
    Metric("completion_tokens", "tokens", _answered("completion_tokens"), False),
)
HARM_SCORES = ("toxicity", "refusal")


def metric_named(name: str) -> Metric:
    """A row of METRICS, or ``score:NAME`` (a scorer's, in [0, 1]) or ``feedback:NAME`` (the
    value of people's or a program's feedback under that metric). Raises ExperimentError.
    """
    for metric in METRICS:
        if metric.name == name:
            return metric
    kind, colon, key = name.partition(":")
    if colon and key and kind == "score":
        harmful = key in HARM_SCORES or key.endswith("toxicity")
        return Metric(name, "score", lambda _, v: v.scores.get(key), not harmful, bounded=True)
    if colon and key and kind == "feedback":

        def value(_: RequestRecord, voices: Voices) -> float | None:
            said = [one.value for one in voices.feedback if one.metric == key]
            return said[-1] if said else None

        return Metric(name, "value", value, True)
    known = [metric.name for metric in METRICS]
    raise ExperimentError(describe_unknown("metric", name, [*known, "score:NAME", "feedback:NAME"]))


@dataclass(frozen=True)
class Sorted:
    """Requests by arm, and how many were left out by reason."""

    of_arm: Mapping[str, list[RequestRecord]]
    held_back: list[RequestRecord]
    """Units' requests before they entered the experiment (reason ``ramp``): their history."""
    shadows: list[RequestRecord]
    left_out: Mapping[str, int]
    crossed_units: int
    busy_ms: Mapping[str, float]
    """Milliseconds of answering by variant, of all its requests: its load."""


def sort_in(weights: Mapping[str, float], requests: Iterable[RequestRecord]) -> Sorted:
    """Left out are pinned and excluded requests, those without a unit or outside the plan,
    and all requests of units that several arms answered."""
    left_out: dict[str, int] = defaultdict(int)
    busy: dict[str, float] = defaultdict(float)
    kept: list[RequestRecord] = []
    held_back: list[RequestRecord] = []
    shadows: list[RequestRecord] = []
    arms_of_unit: dict[str, set[str]] = defaultdict(set)
    for request in requests:
        busy[request.variant] += request.duration_ms
        if request.excluded == "shadow":
            shadows.append(request)
        elif request.pinned:
            left_out["pinned"] += 1
        elif request.unit_digest is None:
            left_out["no-unit"] += 1
        elif request.excluded is not None:
            left_out[request.excluded] += 1
            if request.excluded == "ramp":
                held_back.append(request)
        elif request.variant not in weights:
            left_out["outside-plan"] += 1
        else:
            kept.append(request)
            arms_of_unit[request.unit_digest].add(request.variant)
    crossed = {unit for unit, arms in arms_of_unit.items() if len(arms) > 1}
    of_arm: dict[str, list[RequestRecord]] = defaultdict(list)
    for request in kept:
        if request.unit_digest not in crossed:
            of_arm[request.variant].append(request)
    return Sorted(of_arm, held_back, shadows, dict(left_out), len(crossed), dict(busy))


def voices_of(
    feedback: Iterable[FeedbackRecord], scores: Mapping[str, Mapping[str, float]]
) -> dict[str, Voices]:
    """By request id."""
    said: dict[str, list[FeedbackRecord]] = defaultdict(list)
    for record in sorted(feedback, key=lambda record: record.created_at):
        said[record.request_id].append(record)
    return {key: Voices(tuple(said.get(key, ())), scores.get(key, {})) for key in {*said, *scores}}


def unit_means(
    metric: Metric, requests: Iterable[RequestRecord], voices: Mapping[str, Voices]
) -> dict[str, float]:
    """Each unit's mean over its requests that have a value."""
    values: dict[str, list[float]] = defaultdict(list)
    for request in requests:
        value = metric.value(request, voices.get(request.request_id, SILENCE))
        if value is not None:
            values[request.unit_digest or ""].append(value)
    return {unit: statistics.fmean(found) for unit, found in values.items()}
