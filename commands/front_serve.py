"""The commands that start engines elsewhere, as the front door shows them."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.options import Checkpoint, Host, session


def engine(
    context: typer.Context,
    checkpoint: Checkpoint,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where gateways find the engine.")] = 8100,
    model: Annotated[str, typer.Option(help="The name under which it answers.")] = "hallmark",
) -> int:
    """Start one engine here for gateways on other machines.

    Only if the checkpoint has its hallmark.

    It proves to each gateway what it holds; the gateway must trust this home's key. Beyond
    127.0.0.1 it wants HALLMARK_ENGINE_KEY, the same here and at the gateways.

    \b
    Example: hallmark engine champion --host 10.0.0.7 --port 8100
    """
    from commands import engine as room

    return room.engine(session(context), checkpoint, host=host, port=port, model=model)
