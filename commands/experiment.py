"""`hallmark experiment`: read an experiment, start and stop it, and test its rules.

Start and stop are written into the ledger; every gateway that serves the experiment follows
at its guardian's next look, some seconds later.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commands.session import Session, print_json, table
from monitoring.experiments import ReadOut, ReadOutOptions, read_out
from registry.checkpoint import read_manifest
from registry.experiments import EventKind, ExperimentEvent
from registry.records import UserError, describe_unknown
from serve.experiment_files import ExperimentDesign, load_design, parse_design
from serve.experiment_state import ExperimentState, state_of


class ExperimentCommandError(UserError):
    """The experiment is not there, or is not one that can be started and stopped."""


def body_of(session: Session, name: str) -> dict[str, Any]:
    body = session.ledger.experiment(name)
    if body is None:
        known = session.ledger.experiments()
        raise ExperimentCommandError(
            f"{describe_unknown('experiment', name, known)}; one is recorded when the server "
            "starts: hallmark serve --experiment NAME --variant a=... --variant b=..."
        )
    return body


def design_of(session: Session, name: str) -> ExperimentDesign | None:
    """The declared design; None for a split that was only given as --variant."""
    declared = body_of(session, name).get("design")
    return None if declared is None else parse_design(declared, where=f"experiment {name}")


def options_of(design: ExperimentDesign | None) -> ReadOutOptions:
    if design is None:
        return ReadOutOptions()
    stop = design.stop
    return ReadOutOptions(
        alpha=stop.alpha,
        num_expected_units=stop.expected_units,
        primary=design.primary,
        smallest_effect=stop.smallest_effect,
        min_units=stop.min_units,
        metrics=design.metrics,
        segments=tuple(design.segments),
        separate_pools=design.pools == "separate",
    )


def experiment(session: Session, name: str) -> ReadOut:
    """The read-out of an experiment from the ledger. Raises ExperimentCommandError."""
    body = body_of(session, name)
    design = design_of(session, name)
    weights = {one["name"]: float(one["weight"]) for one in body["variants"]}
    options = options_of(design)
    scorers = {m.removeprefix("score:") for m in options.metrics if m.startswith("score:")}
    scores = {one.request_id: one.scores for one in session.ledger.live_scores()} if scorers else {}
    answers = session.ledger.answers_with_feedback()
    said = (
        feedback for one in answers if one.request.experiment == name for feedback in one.feedback
    )
    return read_out(weights, session.ledger.requests(name), said, options, scores=scores)


def standing(session: Session, name: str) -> ExperimentState | None:
    """Where a declared experiment stands; None for one that is not declared."""
    design = design_of(session, name)
    if design is None:
        return None
    return state_of(design, session.ledger.experiment_events(name))


def status(session: Session, name: str, *, json: bool) -> int:
    result = experiment(session, name)
    state = standing(session, name)
    events = session.ledger.experiment_events(name)
    if json:
        body = result.model_dump(mode="json")
        body["events"] = [event.model_dump(mode="json") for event in events]
        body["state"] = None if state is None else _state_body(state)
        print_json(body)
    else:
        show(session, name, result)
        if state is not None:
            _show_state(session, state)
        for event in events:
            who = f" {event.variant}" if event.variant else ""
            session.say(f"  {event.at:%Y-%m-%d %H:%M:%S} {event.kind}{who}: {event.reason}")
    return 0


def _state_body(state: ExperimentState) -> dict[str, Any]:
    return {
        "run": state.run,
        "running": state.running,
        "started_at": state.started_at,
        "share": state.share,
        "off": dict(state.off),
        "weights": None if state.weights is None else dict(state.weights),
    }


def _show_state(session: Session, state: ExperimentState) -> None:
    if not state.running:
        session.say(f"not running: {state.ended_because}")
        return
    off = ", ".join(f"{name} ({why})" for name, why in state.off.items()) or "nobody"
    session.say(f"run {state.run}: {state.share:.0%} of the units are in; switched off: {off}")


def show(session: Session, name: str, result: ReadOut) -> None:
    """The read-out for people: arms, metrics, shadows, warnings and the decision."""
    columns = ("arm", "users", "requests", "thumbs up", "always-valid 95%", "answered by thumbs")
    rows = [
        (
            arm.variant,
            arm.units,
            arm.requests,
            None if arm.thumbs_up_share is None else f"{arm.thumbs_up_share:.3f}",
            _interval(arm.thumbs_up_interval),
            None if arm.response_rate is None else f"{arm.response_rate:.3f}",
        )
        for arm in result.arms
    ]
    session.console.print(table(f"experiment {name}", columns, rows))
    columns = ("metric", "segment", "arm", "users", "mean", "always-valid", "minus control", "")
    found = [
        (
            one.metric,
            one.segment or "all",
            one.variant,
            one.units,
            _number(one.mean),
            _interval(one.interval),
            _number(one.difference),
            _interval(one.difference_interval),
        )
        for one in result.estimates
        if one.mean is not None
    ]
    if found:
        session.console.print(table("metrics; segments are exploratory", columns, found))
    for reason in {one.withheld for one in result.estimates if one.withheld}:
        session.say(f"  latency is not compared: {reason}")
    if result.pairs:
        columns = ("shadow", "metric", "prompts", "difference", "always-valid", "higher")
        pairs = [
            (p.other, p.metric, p.num_pairs, _number(p.difference), _interval(p.interval),
             _number(p.higher_share))
            for p in result.pairs
        ]  # fmt: skip
        session.console.print(table("shadows beside the answers users got", columns, pairs))
    for warning in result.warnings:
        session.say(f"  {warning}")
    if result.excluded:
        counts = ", ".join(f"{count} {reason}" for reason, count in result.excluded.items())
        session.say(f"requests left out: {counts}")
    if result.required_units_per_arm is not None:
        session.say(
            f"one look at a fixed horizon would need {result.required_units_per_arm} users per arm"
        )
    ratio = "not tested" if result.srm_p is None else f"p = {result.srm_p:.4f}"
    balance = result.response_balance_p
    said = "" if balance is None else f"; feedback balance p = {balance:.4f}"
    session.say(f"sample ratio {ratio}{said}; {result.decision}: {result.reason}")


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _interval(bounds: tuple[float, float] | None) -> str | None:
    return None if bounds is None else f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def start(session: Session, reference: str, *, variant: str | None, json: bool) -> int:
    """A new run of a file's or a recorded experiment; with ``variant``, its pause ends."""
    path = Path(reference)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        design = load_design(path)
        before = session.ledger.experiment(design.name) or {}
        body = recorded(session, design, before.get("model_name", "hallmark"))
        session.ledger.record_experiment(design.name, body)
        if before.get("design") not in (None, body["design"]):
            session.say("its design has changed: servers follow it once they are started again")
    else:
        found = design_of(session, reference)
        if found is None:
            raise ExperimentCommandError(
                f"experiment {reference} was given as --variant options and runs while it is "
                "served; declare it in a file to start and stop it"
            )
        design = found
    state = state_of(design, session.ledger.experiment_events(design.name))
    if variant is None:
        key = f"{design.name}/{state.run + 1}/start"
        reason = f"started by {session.who}"
        return _write(session, design.name, "start", key, None, reason, json=json)
    _known(design, variant)
    if state.off.get(variant) != "pause":
        why = state.off.get(variant)
        said = "gets its units" if why is None else f"was switched off ({why})"
        raise ExperimentCommandError(
            f"variant {variant} {said}, so there is no pause to end; for a new run: "
            f"hallmark experiment start {design.name}"
        )
    key = f"{design.name}/{state.run}/resume/{variant}/{state.times_off.get(variant, 0)}"
    reason = f"resumed by {session.who}"
    return _write(session, design.name, "resume", key, variant, reason, json=json)


def stop(session: Session, name: str, *, variant: str | None, reason: str, json: bool) -> int:
    """End the run, or switch one variant off; the control answers."""
    design = design_of(session, name)
    if design is None:
        raise ExperimentCommandError(
            f"experiment {name} was given as --variant options; end it by stopping the server"
        )
    if variant is not None:
        _known(design, variant)
    state = state_of(design, session.ledger.experiment_events(name))
    if not state.running:
        raise ExperimentCommandError(
            f"experiment {name} is not running: {state.ended_because}; start it with "
            f"hallmark experiment start {name}"
        )
    key = f"{name}/{state.run}/stop/{variant or 'all'}"
    said = f"{reason} ({session.who})" if reason else f"stopped by {session.who}"
    return _write(session, name, "stop", key, variant, said, json=json)


def _known(design: ExperimentDesign, variant: str) -> None:
    names = [*design.challengers, *design.shadows]
    if variant not in names:
        raise ExperimentCommandError(describe_unknown("challenger", variant, names))


def _write(
    session: Session,
    name: str,
    kind: EventKind,
    key: str,
    variant: str | None,
    reason: str,
    *,
    json: bool,
) -> int:
    event = ExperimentEvent(
        key=key, experiment=name, kind=kind, variant=variant, reason=reason, at=datetime.now(UTC)
    )
    session.ledger.record_experiment_event(event)
    if json:
        print_json(event.model_dump(mode="json"))
    else:
        session.say(f"{name}: {kind}{f' {variant}' if variant else ''}; servers follow in seconds")
    return 0


def recorded(session: Session, design: ExperimentDesign, model: str) -> dict[str, Any]:
    """The body under which the ledger keeps an experiment (serve.run writes the same)."""
    arms = [
        {
            "name": one.name,
            "checkpoint": read_manifest(session.checkpoint(one.checkpoint)).weights_digest,
            "weight": 0.0 if one.shadow is not None else one.weight,
        }
        for one in design.variants
    ]
    return {
        "model_name": model,
        "salt": design.salted,
        "variants": arms,
        "design": design.model_dump(mode="json"),
    }


def simulate(session: Session, *, experiments: int, seed: int, json: bool) -> int:
    """A/A and planted regressions through the rules as implemented."""
    from monitoring.simulate_experiments import all_rows, kept, lines

    rows = []
    for row in all_rows(experiments, seed=seed):
        rows.append(row)
        session.say(f"  {row.rule}, {row.data}: {row.stopped:.4f} stopped")
    if json:
        print_json([asdict(row) for row in rows])
    else:
        for line in lines(rows):
            print(line)
    return 0 if all(map(kept, rows)) else 1
