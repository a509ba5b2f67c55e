"""An experiment's file is read whole or refused with its file, line and key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from registry.experiments import ExperimentEvent
from serve.experiment_files import (
    ExperimentDesign,
    ExperimentFileError,
    design_schema,
    load_design,
    parse_design,
)
from serve.experiment_state import first_start, state_of
from tests.ledgers import NOON

WHOLE = """\
name: spring
unit: user
without_unit: reject
variants:
  - {name: a, checkpoint: champion, weight: 3}
  - {name: b, checkpoint: challenger}
  - {name: c, checkpoint: next, shadow: 0.05}
ramp:
  - {after_hours: 0, share: 0.1}
  - {after_hours: 24, share: 1}
holdout: {share: 0.05}
segments: {plan: [free, paid]}
primary: thumbs_up
metrics: [errors, ttft_ms, "score:toxicity", "feedback:solved"]
guardrails:
  - {metric: errors, margin: 0.02}
  - {metric: ttft_ms, limit: 2000}
stop: {smallest_effect: 0.03, expected_units: 4000, max_days: 14}
"""


def design(**changes: object) -> ExperimentDesign:
    variants = [{"name": "a", "checkpoint": "x"}, {"name": "b", "checkpoint": "y"}]
    return parse_design({"name": "spring", "variants": variants, **changes}, where="test")


def read(tmp_path: Path, text: str) -> ExperimentDesign:
    path = tmp_path / "spring.yaml"
    path.write_text(text)
    return load_design(path)


def test_a_file_says_who_is_control_who_challenges_and_who_only_shadows(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    assert (found.control, found.challengers, found.shadows) == ("a", ("b",), {"c": 0.05})
    assert found.weights == {"a": 0.75, "b": 0.25}
    assert found.salted == "spring"
    assert found.guardrails[0].silent_after_units == 200


def test_a_design_survives_its_own_json(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    assert parse_design(found.model_dump(mode="json"), where="x") == found


def test_the_schema_accepts_what_is_accepted_and_refuses_an_unknown_key(tmp_path: Path) -> None:
    import yaml

    schema = Draft202012Validator(design_schema())
    schema.check_schema(design_schema())
    assert list(schema.iter_errors(yaml.safe_load(WHOLE))) == []
    assert list(schema.iter_errors(yaml.safe_load(WHOLE) | {"varaints": []}))


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        ("unit: user", "unit: request", r"spring.yaml:2: unit: "),
        ("share: 0.1}", "share: 1.5}", r"spring.yaml:9: ramp.0.share: "),
        ("weight: 3}", "wait: 3}", r"spring.yaml:5: variants.0.wait: "),
        ("shadow: 0.05}", "shadow: 0.05, weight: 1}", r":7: .*is a shadow and answers nobody"),
        ("{name: b,", "{name: a,", "variant names repeat"),
        ("after_hours: 24, share: 1}", "after_hours: 24, share: 0.01}", "hours and shares rise"),
        ("primary: thumbs_up", "primary: vibes", "no metric named 'vibes'"),
        ("ttft_ms, limit: 2000", "ttft_ms, margin: 50", "contaminate each other's latency"),
        ("errors, margin: 0.02", "errors", "exactly one of limit and margin"),
        ("{metric: errors, m", "{metric: joy, m", "no guardrail metric 'joy'"),
        ("name: a, checkpoint: champion, weight: 3", "name: a, checkpoint: champion, weight: 0",
         "the first variant is the control"),
        ("name: spring", "name: [", "not valid YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_its_place(
    tmp_path: Path, change: str, to: str, said: str
) -> None:
    assert change in WHOLE
    with pytest.raises(ExperimentFileError, match=said):
        read(tmp_path, WHOLE.replace(change, to, 1))


def test_latency_may_be_compared_in_separate_pools(tmp_path: Path) -> None:
    text = WHOLE.replace("ttft_ms, limit: 2000", "ttft_ms, margin: 50") + "pools: separate\n"
    assert read(tmp_path, text).guardrails[1].margin == 50


def test_a_bandit_assigns_conversations_and_leaves_room_for_its_floor() -> None:
    with pytest.raises(ExperimentFileError, match="its unit must be conversation"):
        design(bandit={})
    with pytest.raises(ExperimentFileError, match=r"primary metric is one of thumbs_up, errors"):
        design(bandit={}, unit="conversation", primary="rating")
    assert design(bandit={"floor": 0.5}, unit="conversation").bandit is not None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentFileError, match=r"none\.yaml cannot be read"):
        load_design(tmp_path / "none.yaml")


def event(kind: str, minutes: int, variant: str | None = None, **body: object) -> ExperimentEvent:
    return ExperimentEvent.model_validate(
        {"key": f"{kind}{minutes}", "experiment": "spring", "kind": kind, "variant": variant,
         "reason": "why", "body": body, "at": NOON + timedelta(minutes=minutes)}
    )  # fmt: skip


RAMPED = {"ramp": [{"after_hours": 0, "share": 0.1}, {"after_hours": 1, "share": 1}]}


def test_before_its_first_start_an_experiment_does_not_run() -> None:
    state = state_of(design(), [])
    assert (state.running, state.run, state.ended_because) == (False, 0, "it was never started")


def test_the_state_is_what_the_events_since_the_last_start_add_up_to() -> None:
    plan = design(**RAMPED)
    events = [
        first_start("spring", "go", NOON),
        event("ramp", 1, share=1.0, stage=1),
        event("breach", 2, "b"),
    ]
    state = state_of(plan, events)
    assert (state.run, state.share, state.stage, dict(state.off)) == (1, 1.0, 1, {"b": "breach"})
    ended = state_of(plan, [*events, event("stop", 3)])
    assert (ended.running, ended.ended_because) == (False, "why")
    again = state_of(plan, [*events, event("stop", 3), event("start", 4)])
    assert (again.running, again.run, again.share, dict(again.off)) == (True, 2, 0.1, {})
    assert again.started_at == NOON + timedelta(minutes=4)


def test_resuming_ends_a_pause_and_no_breach() -> None:
    start = first_start("spring", "go", NOON)
    paused = [start, event("pause", 1, "b"), event("resume", 2, "b")]
    assert state_of(design(), paused).off == {}
    assert state_of(design(), paused).times_off == {"b": 1}
    breached = [start, event("breach", 1, "b"), event("resume", 2, "b"), event("pause", 3, "b")]
    assert state_of(design(), breached).off == {"b": "breach"}
