"""The gate's commands as the front door shows them: what may be said, and its help."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.options import Alias, Checkpoint, Json, PolicyFile, Reason, session


def gate(
    context: typer.Context,
    checkpoint: Checkpoint,
    against: Annotated[
        str, typer.Option(help="The alias to compare with; a first champion needs none.")
    ] = "champion",
    policy: PolicyFile = "support",
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure its training's snapshots too.")
    ] = False,
    early_fail: Annotated[
        bool, typer.Option("--early-fail", help="Stop as soon as a margin is clearly lost.")
    ] = False,
    ray: Annotated[
        str | None, typer.Option(help="Measure on this Ray cluster: auto, or ray://HOST:10001.")
    ] = None,
    json: Json = False,
) -> int:
    """Measure a checkpoint, judge it, and on PASS sign its hallmark.

    Exits 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 INVALID, 4 error. Writes JSON, Markdown and JUnit.

    An interrupted gate goes on where it stopped; what was measured is not measured again.

    \b
    Example: hallmark gate candidate --against champion --policy support
    """
    from commands import gate as room
    from commands.measuring import How

    how = How(noise=noise, early_fail=early_fail, ray=ray)
    return room.gate(
        session(context), checkpoint, against=against, policy=policy, json=json, how=how
    )


def plan(
    context: typer.Context,
    policy: PolicyFile = "support",
    against: Annotated[str, typer.Option(help="Use this alias's measured noise.")] = "champion",
    json: Json = False,
) -> int:
    """The power of a policy: what its item counts can certify.

    Exits 1 if a margin cannot be certified.

    \b
    Example: hallmark plan --policy support
    """
    from commands import gate as room

    return room.plan(session(context), policy=policy, against=against, json=json)


def selftest(
    context: typer.Context,
    policy: PolicyFile = "support",
    against: Annotated[str, typer.Option(help="The alias to plant regressions in.")] = "champion",
    json: Json = False,
) -> int:
    """Plant regressions in the champion: which does the gate refuse?

    Exits 1 if it misses one.

    \b
    Example: hallmark selftest --policy support
    """
    from commands import selftest as room

    return room.command(session(context), policy=policy, against=against, json=json)


def promote(
    context: typer.Context, checkpoint: Checkpoint, alias: Alias = "champion", reason: Reason = ""
) -> int:
    """Move an alias to a checkpoint with a valid, passing hallmark.

    \b
    Example: hallmark promote candidate --reason "release 12"
    """
    from commands import gate as room

    return room.promote(session(context), checkpoint, alias=alias, reason=reason)


def rollback(context: typer.Context, alias: Alias = "champion", reason: Reason = "") -> int:
    """Move an alias back to the checkpoint that it named before.

    \b
    Example: hallmark rollback --reason "complaints"
    """
    from commands import gate as room

    return room.rollback(session(context), alias=alias, reason=reason)


def verify(context: typer.Context, checkpoint: Checkpoint, json: Json = False) -> int:
    """Hash a checkpoint afresh and check its hallmark.

    As the server does at every start of an engine.

    \b
    Example: hallmark verify champion
    """
    from commands import gate as room

    return room.verify(session(context), checkpoint, json=json)
