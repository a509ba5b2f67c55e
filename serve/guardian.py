"""The guardian: watches an experiment's guardrails and takes a harmful variant off its units.

A task of the gateway. Every few seconds it reads the ledger's events and moments, judges
each guardrail on each variant with a sequence that holds at every look, and tells the
assigner. A breach sends the variant's units back to the control, is written into the
ledger with its reason, and raises ``hallmark_guardrail_breached``. Where a guardrail gets
no samples the variant is paused, and where the ledger itself is silent all of them are:
what cannot be seen is not safe. A stage of the ramp is passed only once every guardrail
was judged and none was breached.

Gateways that share a ledger each run one; events carry keys, so one of them writes, and
the others follow at their next look.

The interface to the gateway: ``asyncio.create_task(Guardian(...).run())`` in its lifespan,
with ``apply=assigner.apply`` and ``shares=lambda: assigner.shares``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from monitoring.experiments import (
    Guardrail,
    GuardrailFinding,
    Moments,
    Outcomes,
    bandit_shares,
    judge_guardrail,
    metric_named,
    split_alpha,
)
from monitoring.series import Series
from registry.experiments import EventKind, ExperimentEvent, UnitMoments
from serve.experiment_files import ExperimentDesign, GuardrailDesign
from serve.experiment_state import ExperimentState, Off, state_of

log = logging.getLogger("hallmark.guardian")

EVERY_SECONDS = 5.0
BLIND_SECONDS = 20.0
EXPOSURES = "errors"  # every request has this metric, so its units are all that were met


class GuardianStore(Protocol):
    """What a guardian needs of a ledger."""

    def experiment_events(self, experiment: str, /) -> Sequence[ExperimentEvent]: ...

    def record_experiment_event(self, event: ExperimentEvent, /) -> bool: ...

    def unit_moments(
        self, experiment: str, metric: str, since: datetime, /
    ) -> Sequence[UnitMoments]: ...


@dataclass
class _Heard:
    """The last time that a guardrail's samples of a variant grew."""

    num_units: int = 0
    expected: float = 0.0


def _now() -> datetime:
    return datetime.now(UTC)


class Guardian:
    """One per experiment and gateway process."""

    def __init__(
        self,
        design: ExperimentDesign,
        store: GuardianStore,
        apply: Callable[[ExperimentState], None],
        shares: Callable[[], dict[str, float]],
        series: Series,
        *,
        clock: Callable[[], datetime] = _now,
        every_seconds: float = EVERY_SECONDS,
        blind_seconds: float = BLIND_SECONDS,
    ) -> None:
        """A breach is acted on within ``every_seconds`` and the time of one look in this
        process, and of one more ``every_seconds`` in others."""
        self._design = design
        self._store = store
        self._tell = apply
        self._shares = shares
        self._series = series
        self._clock = clock
        self._every = every_seconds
        self._blind = blind_seconds
        self._heard: dict[tuple[str, str], _Heard] = {}
        self._times_off: dict[str, int] = {}
        self._state = ExperimentState()
        self._seen_at: float | None = None
        self._alpha = split_alpha(
            design.guardrail_alpha,
            num_guardrails=max(len(design.guardrails), 1),
            num_variants=max(len(design.challengers), 1),
        )

    @property
    def state(self) -> ExperimentState:
        return self._state

    async def run(self) -> None:
        """Look until cancelled."""
        self._seen_at = time.monotonic()
        while True:
            look = asyncio.create_task(asyncio.to_thread(self.look))
            try:
                done, _ = await asyncio.wait({look}, timeout=self._blind)
                if not done:  # the ledger hangs
                    self._go_blind("a look at the ledger takes too long")
                self._apply(await look)
                self._seen_at = time.monotonic()
            except asyncio.CancelledError:
                look.cancel()
                raise
            except Exception:  # edge of a supervised task: the ledger may recover
                log.exception("experiment %s was not looked at", self._design.name)
                if time.monotonic() - self._seen_at >= self._blind:
                    self._go_blind("the ledger cannot be read")
            await asyncio.sleep(self._every)

    def look(self) -> ExperimentState:
        """Read, judge, write what follows, and give the state that holds now."""
        design, store = self._design, self._store
        state = state_of(design, store.experiment_events(design.name))
        if not state.running or state.started_at is None:
            return state
        written = [self._write(event) for event in self._decisions(state, state.started_at)]
        if any(written):
            state = state_of(design, store.experiment_events(design.name))
        return state

    def _decisions(self, state: ExperimentState, since: datetime) -> list[ExperimentEvent]:
        """What has to happen now, as events that are not written yet."""
        days = self._design.stop.max_days
        if days is not None and self._clock() - since >= timedelta(days=days):
            reason = f"its {days:g} days are over; read it out with `hallmark experiment status`"
            return [self._event(state, "stop", "end", reason)]
        active = [name for name in self._design.challengers if name not in state.off]
        # Who was resumed: what they missed is no silence.
        back = {n for n in active if state.times_off.get(n, 0) != self._times_off.get(n, 0)}
        self._times_off = dict(state.times_off)
        if not active:
            return []
        units = self._moments(EXPOSURES, since)
        exposed = {name: one.n for name, one in units.items()}
        events: list[ExperimentEvent] = []
        all_judged = True
        for rail in self._design.guardrails:
            moments = units if rail.metric == EXPOSURES else self._moments(rail.metric, since)
            for name in active:
                finding = self._judge(rail, name, moments)
                all_judged = all_judged and finding.state == "within"
                silent = self._silent_units(rail, finding, exposed, afresh=name in back)
                event = self._consequence(state, rail, finding, silent)
                if event is not None and name not in {one.variant for one in events}:
                    events.append(event)
        if events or not self._enough(exposed, active):
            return events
        if all_judged and (stage := self._next_stage(state, since)) is not None:
            share = self._design.ramp[stage].share
            reason = f"{share:.0%} of the units are in: no guardrail was breached before"
            body = {"share": share, "stage": stage}
            return [self._event(state, "ramp", f"ramp/{stage}", reason, body=body)]
        bandit = self._weights(state, since)
        return [bandit] if bandit is not None else []

    def _enough(self, exposed: dict[str, int], active: list[str]) -> bool:
        """Every arm has met the least sample: before that nothing moves forward."""
        arms = (self._design.control, *active)
        return min(exposed.get(name, 0) for name in arms) >= self._design.stop.min_units

    def _moments(self, metric: str, since: datetime) -> dict[str, Moments]:
        rows = self._store.unit_moments(self._design.name, metric, since)
        return {row.variant: Moments.of_sums(row.num_units, row.total, row.squares) for row in rows}

    def _judge(
        self, rail: GuardrailDesign, variant: str, moments: dict[str, Moments]
    ) -> GuardrailFinding:
        return judge_guardrail(
            Guardrail(
                metric=rail.metric,
                bounded=metric_named(rail.metric).bounded,
                limit=rail.limit,
                margin=rail.margin,
            ),
            variant,
            moments.get(variant),
            moments.get(self._design.control),
            alpha=self._alpha,
            num_expected=self._design.stop.expected_units / len(self._design.arms),
        )

    def _consequence(
        self,
        state: ExperimentState,
        rail: GuardrailDesign,
        finding: GuardrailFinding,
        silent: float,
    ) -> ExperimentEvent | None:
        name = finding.variant
        if finding.state == "breach":
            body = finding.model_dump(mode="json")
            key = f"breach/{name}/{rail.metric}"
            return self._event(state, "breach", key, finding.reason, variant=name, body=body)
        if silent < rail.silent_after_units:
            return None
        reason = (
            f"no new sample of {rail.metric} from {name} while it should have met {silent:.0f} "
            "units: what is not measured is not safe"
        )
        key = f"pause/{name}/{state.times_off.get(name, 0)}"
        return self._event(state, "pause", key, reason, variant=name)

    def _silent_units(
        self,
        rail: GuardrailDesign,
        finding: GuardrailFinding,
        exposed: dict[str, int],
        *,
        afresh: bool,
    ) -> float:
        """Units that the variant met, or should have by the control's, since its last sample."""
        name, control = finding.variant, self._design.control
        weights = self._state.weights or self._design.weights
        due = exposed.get(control, 0) * weights[name] / weights[control]
        expected = max(float(exposed.get(name, 0)), due)
        heard = self._heard.setdefault((name, rail.metric), _Heard())
        if afresh or finding.num_units > heard.num_units or expected < heard.expected:
            self._heard[name, rail.metric] = heard = _Heard(finding.num_units, expected)
        return expected - heard.expected

    def _next_stage(self, state: ExperimentState, since: datetime) -> int | None:
        stage = state.stage + 1
        if stage >= len(self._design.ramp):
            return None
        due = since + timedelta(hours=self._design.ramp[stage].after_hours)
        return stage if self._clock() >= due else None

    def _weights(self, state: ExperimentState, since: datetime) -> ExperimentEvent | None:
        """The bandit's next batch, where there is a bandit and the last batch is over."""
        bandit, now = self._design.bandit, self._clock()
        if bandit is None:
            return None
        last = state.weighed_at or since
        if now - last < timedelta(hours=bandit.every_hours):
            return None
        names = [arm.name for arm in self._design.arms if arm.name not in state.off]
        harm = "errors" if self._design.primary == "errors" else "thumbs_down"
        found = self._moments(harm, since)
        arms = {
            name: Outcomes(one.n * (1 - one.mean), one.n)
            if (one := found.get(name))
            else Outcomes(0.0, 0)
            for name in names
        }
        weights = bandit_shares(arms, bandit.method, floor=bandit.floor)
        weights |= dict.fromkeys(state.off, 0.0)
        reason = f"{bandit.method}: " + ", ".join(f"{n} {w:.3f}" for n, w in weights.items())
        key = f"weights/{last.isoformat()}"
        return self._event(state, "weights", key, reason, body={"weights": weights})

    def _event(
        self,
        state: ExperimentState,
        kind: EventKind,
        key: str,
        reason: str,
        *,
        variant: str | None = None,
        body: dict[str, Any] | None = None,
    ) -> ExperimentEvent:
        return ExperimentEvent(
            key=f"{self._design.name}/{state.run}/{key}",
            experiment=self._design.name,
            kind=kind,
            variant=variant,
            reason=reason,
            body=body or {},
            at=self._clock(),
        )

    def _write(self, event: ExperimentEvent) -> bool:
        new = self._store.record_experiment_event(event)
        if new:
            log.warning("experiment %s: %s: %s", event.experiment, event.kind, event.reason)
        return new

    def _go_blind(self, reason: str) -> None:
        log.error("experiment %s: %s; the control answers", self._design.name, reason)
        off: dict[str, Off] = dict.fromkeys(self._design.challengers, "pause")
        self._apply(replace(self._state, off={**off, **self._state.off}), seen=False)

    def _apply(self, state: ExperimentState, *, seen: bool = True) -> None:
        self._tell(state)
        series, name = self._series, self._design.name
        if seen:
            self._state = state
            series.guardian_last_look.labels(experiment=name).set(self._clock().timestamp())
        for variant in self._design.challengers:
            off = state.off.get(variant)
            arm = {"experiment": name, "variant": variant}
            series.guardrail_breached.labels(**arm).set(off == "breach")
            series.variant_paused.labels(**arm).set(off == "pause")
        for variant, share in self._shares().items():
            series.variant_share.labels(experiment=name, variant=variant).set(share)
