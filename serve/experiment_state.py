"""Where a running experiment stands: what its events since the last start add up to.

The ledger keeps the events, so the state survives restarts and all gateways agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from registry.experiments import ExperimentEvent
from serve.experiment_files import ExperimentDesign

Off = Literal["breach", "pause", "stop"]


@dataclass(frozen=True)
class ExperimentState:
    """``run`` counts the starts, 0 before the first. ``share`` of the units are in.

    ``off`` are variants that get no units, and why; the control answers for them.
    ``weights`` are a bandit's, None: as designed.
    """

    run: int = 0
    running: bool = False
    started_at: datetime | None = None
    ended_because: str = "it was never started"
    share: float = 1.0
    stage: int = 0
    off: Mapping[str, Off] = field(default_factory=dict)
    weights: Mapping[str, float] | None = None
    weighed_at: datetime | None = None
    times_off: Mapping[str, int] = field(default_factory=dict)
    """How often a variant was switched off in this run."""


def first_start(experiment: str, reason: str, at: datetime) -> ExperimentEvent:
    """The start of the first run."""
    return ExperimentEvent(
        key=f"{experiment}/1/start", experiment=experiment, kind="start", reason=reason, at=at
    )


def state_of(design: ExperimentDesign, events: Iterable[ExperimentEvent]) -> ExperimentState:
    """Fold the events, in the order in which they were written."""
    state = ExperimentState()
    for event in events:
        if event.kind == "start":
            state = ExperimentState(
                run=state.run + 1,
                running=True,
                started_at=event.at,
                ended_because="",
                share=design.ramp[0].share,
            )
        elif not state.running:
            continue
        elif event.kind == "stop" and event.variant is None:
            state = replace(state, running=False, ended_because=event.reason)
        elif event.kind == "ramp":
            state = replace(state, share=event.body["share"], stage=event.body["stage"])
        elif event.kind == "weights":
            state = replace(state, weights=event.body["weights"], weighed_at=event.at)
        elif event.variant is not None:
            state = _switched(state, event.variant, event)
    return state


def _switched(state: ExperimentState, variant: str, event: ExperimentEvent) -> ExperimentState:
    off = dict(state.off)
    if event.kind == "resume":
        if off.get(variant) == "pause":  # what harmed or was stopped needs a new start
            del off[variant]
        return replace(state, off=off)
    times = {**state.times_off, variant: state.times_off.get(variant, 0) + 1}
    if event.kind == "breach":
        off[variant] = "breach"
    elif event.kind == "stop":
        off[variant] = "stop"
    else:
        off.setdefault(variant, "pause")
    return replace(state, off=off, times_off=times)
