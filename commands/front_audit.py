"""The audit's commands as the front door shows them: what may be said, and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Checkpoint, Json, session


def audit(
    context: typer.Context,
    checkpoint: Checkpoint,
    suite: Annotated[
        str, typer.Option(help="quick, full, or a suite's file: a policy of audits.")
    ] = "quick",
    against: Annotated[
        str | None, typer.Option(help="An alias to compare with; absolute limits alone without.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the reports; below HOME by default.")
    ] = None,
    json: Json = False,
) -> int:
    """Measure whom a checkpoint treats worse, and how toxic it gets.

    Judges, and signs nothing.

    Exits 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 INVALID, 4 error. Writes JSON, Markdown and HTML.

    What was measured is what `hallmark gate` uses, and is not measured again.

    \b
    Example: hallmark audit candidate --suite quick
    Example: hallmark audit candidate --suite full --against champion --out audit/
    """
    from commands import audit as room

    return room.audit(
        session(context), checkpoint, suite=suite, against=against, out=out, json=json
    )


def card(
    context: typer.Context,
    checkpoint: Checkpoint,
    out: Annotated[
        Path | None, typer.Option(help="A file; README.md in the checkpoint's folder by default.")
    ] = None,
    json: Json = False,
) -> int:
    """Write the model card.

    Training data, verdict, audits, limits, and the ruler's errors.

    \b
    Example: hallmark card champion
    Example: hallmark card candidate --out card.md --json
    """
    from commands import card as room

    return room.card(session(context), checkpoint, out=out, json=json)
