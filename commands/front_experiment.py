"""`hallmark experiment`, as the front door shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Json, session

experiment_app = typer.Typer(no_args_is_help=True, help="Start, stop, read and test experiments.")

Name = Annotated[str, typer.Argument(help="The experiment's name.")]


@experiment_app.command("status")
def status(
    context: typer.Context,
    name: Name = "default",
    out: Annotated[Path | None, typer.Option(help="Write an HTML page there too.")] = None,
    json: Json = False,
) -> int:
    """What an experiment says so far, and the decision.

    Per arm and segment: always-valid intervals, sample ratio, shadows.

    \b
    Example: hallmark experiment status default --json
    """
    from commands import experiment

    return experiment.status(session(context), name, out=out, json=json)


@experiment_app.command("start")
def start(
    context: typer.Context,
    experiment: Annotated[str, typer.Argument(help="A YAML file, or the name of a declared one.")],
    variant: Annotated[
        str | None, typer.Option(help="End the pause of this variant; no new run.")
    ] = None,
    json: Json = False,
) -> int:
    """Begin a new run of an experiment.

    Ramp and guardrails start afresh, whoever was stopped is back.

    \b
    Example: hallmark experiment start spring.yaml
    """
    from commands import experiment as room

    return room.start(session(context), experiment, variant=variant, json=json)


@experiment_app.command("stop")
def stop(
    context: typer.Context,
    name: Name,
    variant: Annotated[str | None, typer.Option(help="Only this variant.")] = None,
    reason: Annotated[str, typer.Option(help="Kept in the ledger.")] = "",
    json: Json = False,
) -> int:
    """Send all units, or those of one variant, to the control.

    \b
    Example: hallmark experiment stop spring --variant b --reason "rude answers"
    """
    from commands import experiment

    return experiment.stop(session(context), name, variant=variant, reason=reason, json=json)


@experiment_app.command("simulate")
def simulate(
    context: typer.Context,
    experiments: Annotated[int, typer.Option(min=10, help="A/A experiments.")] = 2000,
    seed: Annotated[int, typer.Option(help="Fixes everything random.")] = 20260501,
    json: Json = False,
) -> int:
    """How often the rules stop what does no harm.

    And how soon they stop what does harm. Takes some minutes.

    \b
    Example: hallmark experiment simulate --experiments 200 --json
    """
    from commands import experiment

    return experiment.simulate(session(context), experiments=experiments, seed=seed, json=json)
