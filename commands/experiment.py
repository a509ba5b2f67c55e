"""`hallmark experiment`: read an experiment, start and stop it, and test its rules.

Start and stop are written into the ledger; every gateway that serves the experiment follows
at its guardian's next look, some seconds later.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from commands.experiment_page import render
from commands.session import Session, print_json, table
from monitoring.experiments import ReadOut, ReadOutOptions, read_out
from registry.checkpoint import read_manifest
from registry.records import write_atomically
from serve.experiment_desk import (
    Change,
    body_of,
    change,
    declare,
    design_of,
    standing,
    state_body,
)
from serve.experiment_files import ExperimentDesign, load_design
from serve.experiment_state import ExperimentState


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
    """The read-out of an experiment's current run. Raises ExperimentChangeError."""
    body = body_of(session.ledger, name)
    design = design_of(session.ledger, name)
    shadows = design.shadows if design is not None else {}
    weights = {
        one["name"]: float(one["weight"]) for one in body["variants"] if one["name"] not in shadows
    }
    options = options_of(design)
    scorers = {m.removeprefix("score:") for m in options.metrics if m.startswith("score:")}
    state = standing(session.ledger, name)
    since = state.started_at if state is not None else None
    requests = (
        one for one in session.ledger.requests(name) if since is None or one.started_at >= since
    )
    scores = {one.request_id: one.scores for one in session.ledger.live_scores()} if scorers else {}
    answers = session.ledger.answers_with_feedback()
    said = (
        feedback for one in answers if one.request.experiment == name for feedback in one.feedback
    )
    return read_out(weights, requests, said, options, scores=scores)


def status(session: Session, name: str, *, out: Path | None, json: bool) -> int:
    result = experiment(session, name)
    state = standing(session.ledger, name)
    events = session.ledger.experiment_events(name)
    if out is not None:
        write_atomically(out, render(name, result, state, events).encode())
        session.say(f"the page is {out}")
    if json:
        body = result.model_dump(mode="json")
        body["events"] = [event.model_dump(mode="json") for event in events]
        body["state"] = None if state is None else state_body(state)
        print_json(body)
    else:
        show(session, name, result)
        if state is not None:
            _show_state(session, state)
        for event in events:
            who = f" {event.variant}" if event.variant else ""
            session.say(f"  {event.at:%Y-%m-%d %H:%M:%S} {event.kind}{who}: {event.reason}")
    return 0


def _show_state(session: Session, state: ExperimentState) -> None:
    if not state.running:
        session.say(f"not running: {state.ended_because}")
        return
    off = ", ".join(f"{name} ({why})" for name, why in state.off.items()) or "nobody"
    session.say(f"run {state.run}: {state.share:.0%} of the units are in; switched off: {off}")


def show(session: Session, name: str, result: ReadOut) -> None:
    """The read-out for people: arms, metrics, shadows, warnings and the decision."""
    columns: tuple[str, ...] = (
        "arm", "users", "requests", "thumbs up", "always-valid", "gave feedback"
    )  # fmt: skip
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
    name = reference
    if reference.endswith((".yaml", ".yml")):
        design = load_design(Path(reference))
        name = design.name
        digests = {
            one.name: read_manifest(session.checkpoint(one.checkpoint)).weights_digest
            for one in design.variants
        }
        if declare(session.ledger, design, digests):
            session.say("its design has changed: servers follow it once they are started again")
    what = "started" if variant is None else "resumed"
    return _change(session, name, "start", variant, f"{what} by {session.who}", json=json)


def stop(session: Session, name: str, *, variant: str | None, reason: str, json: bool) -> int:
    """End the run, or switch one variant off; the control answers."""
    said = f"{reason} ({session.who})" if reason else f"stopped by {session.who}"
    return _change(session, name, "stop", variant, said, json=json)


def _change(
    session: Session, name: str, what: Change, variant: str | None, reason: str, *, json: bool
) -> int:
    event = change(session.ledger, name, what, variant=variant, reason=reason)
    if json:
        print_json(event.model_dump(mode="json"))
    else:
        whom = f" {variant}" if variant else ""
        session.say(f"{name}: {event.kind}{whom}; servers follow in seconds")
    return 0


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
