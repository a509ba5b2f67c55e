"""The guardian takes a harmful variant off its users, and pauses what it cannot see.

The ledger is a real one on SQLite; answers are written into it as the recorder does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitoring.series import Series
from registry.experiments import ExperimentEvent
from registry.ledger import Ledger
from registry.live import LiveScore
from registry.served import RequestRecord
from serve.assignment import Assigner
from serve.experiment_files import ExperimentDesign, parse_design
from serve.experiment_state import first_start, state_of
from serve.guardian import Guardian
from serve.settings import ServingPlan, VariantPlan
from tests.ledgers import NOON, request, thumb
from tests.serving_fake import bench

ERRORS = {"metric": "errors", "margin": 0.02}


def design(**changes: object) -> ExperimentDesign:
    variants = [{"name": name, "checkpoint": name} for name in "ab"]
    fields = {"name": "spring", "variants": variants, "guardrails": [ERRORS], **changes}
    return parse_design(fields, where="test")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@dataclass
class Watch:
    """A guardian whose clock a test turns, and what it told."""

    ledger: Any
    plan: ExperimentDesign
    now: datetime = NOON
    states: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.series = Series(CollectorRegistry())
        self.guardian = self.another()
        self.number = 0

    def another(self, **changes: Any) -> Guardian:
        shares = dict.fromkeys(("a", "b"), 0.5)
        return Guardian(
            self.plan, self.ledger, self.states.append, lambda: shares, self.series,
            clock=lambda: self.now, **changes,
        )  # fmt: skip

    def start(self) -> None:
        self.ledger.record_experiment_event(first_start("spring", "go", self.now))

    def answers(self, variant: str, count: int, **changes: object) -> list[RequestRecord]:
        """So many units of a variant, one request each."""
        made = []
        for _ in range(count):
            self.number += 1
            fields = {"experiment": "spring", "started_at": self.now, "variant": variant,
                      "unit_digest": f"u{self.number}", **changes}  # fmt: skip
            made.append(request(f"r{self.number}", **fields))
        self.ledger.record_requests(made)
        return made

    def events(self) -> list[ExperimentEvent]:
        return [e for e in self.ledger.experiment_events("spring") if e.kind != "start"]

    def value(self, name: str, **labels: str) -> float | None:
        return self.series.registry.get_sample_value(name, {"experiment": "spring", **labels})


@pytest.fixture
def watch(store: Ledger) -> Callable[..., Watch]:
    def make(**changes: object) -> Watch:
        made = Watch(store, design(**changes))
        made.start()
        return made

    return make


def test_a_variant_that_fails_its_users_is_taken_off_and_the_ledger_says_why(watch):
    made = watch()
    made.answers("a", 60)
    made.answers("b", 60, status=502)
    state = made.guardian.look()
    assert dict(state.off) == {"b": "breach"}
    [event] = made.events()
    assert (event.kind, event.variant) == ("breach", "b")
    assert event.reason.startswith("errors of b minus the control's is 1, above 0.02")
    assert event.body["alpha"] == 0.05


def test_harm_within_the_margin_goes_on(watch):
    made = watch()
    made.answers("a", 300)
    made.answers("b", 297)
    made.answers("b", 3, status=502)
    assert made.guardian.look().off == {}
    assert made.events() == []


def test_alpha_is_split_over_guardrails_and_challengers(watch):
    variants = [{"name": name, "checkpoint": name} for name in "abc"]
    toxic = {"metric": "score:toxicity", "limit": 0.2}
    made = watch(variants=variants, guardrails=[ERRORS, toxic], guardrail_alpha=0.04)
    made.answers("a", 60)
    made.answers("b", 60, status=502)
    made.guardian.look()
    assert made.events()[0].body["alpha"] == pytest.approx(0.01)


def test_toxic_answers_stop_a_variant_without_looking_at_the_control(watch, store):
    made = watch(guardrails=[{"metric": "score:toxicity", "limit": 0.2}])
    rows = made.answers("b", 80)
    store.record_live_scores(
        [
            LiveScore(request_id=row.request_id, scorer_digest="s", variant="b",
                      checkpoint="c", scores={"toxicity": 0.7}, scored_at=NOON)
            for row in rows
        ]
    )  # fmt: skip
    assert dict(made.guardian.look().off) == {"b": "breach"}


def test_several_guardians_write_a_breach_once_and_all_follow(watch):
    made = watch()
    made.answers("a", 60)
    made.answers("b", 60, status=502)
    states = [made.another().look() for _ in range(3)]
    assert [dict(state.off) for state in states] == [{"b": "breach"}] * 3
    assert len(made.events()) == 1


def test_what_was_stopped_stays_stopped_after_a_restart_until_a_new_start(watch, store):
    made = watch()
    made.answers("b", 60, status=502)
    made.answers("a", 60)
    made.guardian.look()
    assert dict(made.another().look().off) == {"b": "breach"}
    made.now += timedelta(minutes=1)
    again = ExperimentEvent(
        key="spring/2/start", experiment="spring", kind="start", reason="fixed", at=made.now
    )
    store.record_experiment_event(again)
    assert made.another().look().off == {}


def test_a_guardrail_without_samples_pauses_the_variant(watch):
    made = watch(guardrails=[{"metric": "score:toxicity", "limit": 0.2, "silent_after_units": 50}])
    made.answers("a", 49)
    made.answers("b", 49)
    assert made.guardian.look().off == {}
    made.answers("b", 1)
    assert dict(made.guardian.look().off) == {"b": "pause"}
    assert made.events()[0].reason == (
        "no new sample of score:toxicity from b while it should have met 50 units: what is not "
        "measured is not safe"
    )


def test_a_variant_that_meets_nobody_while_the_control_does_is_paused(watch):
    made = watch(guardrails=[ERRORS | {"silent_after_units": 100}])
    made.answers("a", 100)
    assert dict(made.guardian.look().off) == {"b": "pause"}


def test_samples_that_dry_up_pause_the_variant_and_a_resume_gives_it_time(watch, store):
    made = watch(guardrails=[{"metric": "thumbs_down", "limit": 0.9, "silent_after_units": 50}])
    row = made.answers("b", 1)[0]
    store.record_feedback(thumb("f1", row.request_id, value=1))
    made.answers("b", 40)
    assert made.guardian.look().off == {}
    made.answers("b", 50)
    assert dict(made.guardian.look().off) == {"b": "pause"}
    resumed = ExperimentEvent(
        key="resume", experiment="spring", kind="resume", variant="b", reason="r", at=made.now
    )
    store.record_experiment_event(resumed)
    assert made.guardian.look().off == {}
    made.answers("b", 49)
    assert made.guardian.look().off == {}
    made.answers("b", 1)
    assert dict(made.guardian.look().off) == {"b": "pause"}


RAMP = [{"after_hours": 0, "share": 0.1}, {"after_hours": 1, "share": 1}]


def test_the_ramp_rises_in_time_once_every_guardrail_was_judged(watch):
    made = watch(ramp=RAMP)
    made.answers("a", 40)
    made.answers("b", 40)
    assert made.guardian.look().share == 0.1
    made.now += timedelta(hours=1)
    assert made.guardian.look().share == 1
    assert made.events()[0].body == {"share": 1.0, "stage": 1}
    made.guardian.look()
    assert len(made.events()) == 1


def test_the_ramp_waits_where_nothing_was_measured(watch):
    made = watch(ramp=RAMP)
    made.now += timedelta(hours=5)
    assert made.guardian.look().share == 0.1
    made.answers("a", 29)
    made.answers("b", 29)
    assert made.guardian.look().share == 0.1


def test_an_experiment_ends_when_its_days_are_over(watch):
    made = watch(stop={"max_days": 2})
    made.now += timedelta(days=2)
    state = made.guardian.look()
    assert not state.running
    assert state.ended_because.startswith("its 2 days are over")


def test_a_bandit_s_next_batch_is_in_the_log_with_its_weights(watch, store):
    made = watch(bandit={"every_hours": 1, "floor": 0.1}, unit="conversation", guardrails=[])
    for variant, value in (("a", -1), ("b", 1)):
        for row in made.answers(variant, 40):
            store.record_feedback(thumb(f"f-{row.request_id}", row.request_id, value=value))
    assert made.guardian.look().weights is None
    made.now += timedelta(hours=1)
    weights = made.guardian.look().weights
    # Top-two gives each of two arms half, whoever is better.
    assert weights == pytest.approx({"a": 0.5, "b": 0.5})
    assert made.guardian.look().weights == weights
    assert [event.kind for event in made.events()] == ["weights"]


def test_series_say_who_is_off_and_when_it_was_looked_at_last(watch):
    made = watch()
    made.answers("a", 60)
    made.answers("b", 60, status=502)
    made.guardian._apply(made.guardian.look())
    assert made.value("hallmark_guardrail_breached", variant="b") == 1
    assert made.value("hallmark_variant_paused", variant="b") == 0
    assert made.value("hallmark_guardian_last_look_timestamp_seconds") == NOON.timestamp()
    assert made.states[-1].off == {"b": "breach"}


class Silent:
    """A ledger that cannot be read, or hangs."""

    def __init__(self, hang_seconds: float = 0.0) -> None:
        self.hang_seconds = hang_seconds

    def experiment_events(self, experiment: str, /) -> list[ExperimentEvent]:
        time.sleep(self.hang_seconds)
        raise OSError("the disk is gone")

    def record_experiment_event(self, event: ExperimentEvent, /) -> bool:
        raise AssertionError

    def unit_moments(self, experiment: str, metric: str, since: datetime, /) -> list[Any]:
        raise AssertionError


@pytest.mark.parametrize("hang_seconds", [0.0, 0.3])
async def test_a_ledger_that_cannot_be_read_pauses_every_challenger(hang_seconds):
    made = Watch(Silent(hang_seconds), design())
    guardian = made.another(every_seconds=0.02, blind_seconds=0.1)
    task = asyncio.create_task(guardian.run())
    while not made.states:
        await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert made.states[-1].off == {"b": "pause"}
    assert made.value("hallmark_variant_paused", variant="b") == 1


async def test_traffic_goes_back_to_the_control_while_the_gateway_serves(store):
    plan = ServingPlan(
        model_name="support",
        experiment="spring",
        salt="spring",
        variants=tuple(VariantPlan(name=name, checkpoint=Path(name)) for name in "ab"),
        design=design(),
    )
    start = datetime.now(UTC)
    store.record_experiment_event(first_start("spring", "go", start))
    import aiohttp

    async with bench(plan=plan, ledger=store) as served, aiohttp.ClientSession() as client:

        async def variants() -> set[str]:
            found = set()
            for n in range(12):
                body = {"model": "support", "user": f"u{n}",
                        "messages": [{"role": "user", "content": "hello"}]}  # fmt: skip
                async with client.post(f"{served.root}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
                    found.add(answer.headers["x-hallmark-variant"])
            return found

        deadline = time.monotonic() + 30
        while await variants() != {"a", "b"}:
            assert time.monotonic() < deadline, "the experiment never began"
        store.record_requests(
            [
                request(f"made{n}", experiment="spring", variant="ab"[n % 2], unit_digest=f"x{n}",
                        status=(200, 502)[n % 2], started_at=datetime.now(UTC))
                for n in range(160)
            ]
        )  # fmt: skip
        broken = time.monotonic()
        while await variants() != {"a"}:
            assert time.monotonic() - broken < 30
            await asyncio.sleep(0.2)
        assert served.value("hallmark_guardrail_breached", experiment="spring", variant="b") == 1
        assert served.value("hallmark_variant_share", experiment="spring", variant="b") == 0
    kinds = [event.kind for event in store.experiment_events("spring")]
    assert kinds == ["start", "breach"]


def test_the_assigner_follows_what_the_guardian_tells_it(watch):
    made = watch()
    plan = ServingPlan(
        model_name="support",
        experiment="spring",
        variants=tuple(VariantPlan(name=name, checkpoint=Path(name)) for name in "ab"),
        design=made.plan,
    )
    assigner = Assigner(plan, {"a": "sha256:a", "b": "sha256:b"}, random.Random(0))
    made.answers("a", 60)
    made.answers("b", 60, status=502)
    assigner.apply(made.guardian.look())
    assert assigner.shares == {"a": 1.0, "b": 0.0}
    assert state_of(made.plan, made.ledger.experiment_events("spring")).off == {"b": "breach"}
