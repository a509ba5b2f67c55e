"""Commands on what was served, as the front door shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Host, Json, Seed, session


def watch(
    context: typer.Context,
    share: Annotated[float, typer.Option(help="Of the stored answers, above 0 to 1.")] = 0.1,
    threshold: Annotated[float, typer.Option(help="Toxic from this score on.")] = 0.5,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where Prometheus finds the series.")] = 9464,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from round to round.")] = 15.0,
    once: Annotated[bool, typer.Option("--once", help="One round, and no port: for cron.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Score a share of the live answers as the audits do.

    Prometheus reads the scores here. Sees only conversations that are stored; keeps scores,
    no texts. Safe to stop and restart.

    \b
    Example: hallmark watch --share 0.2 --port 9464
    Example: hallmark watch --once --json
    """
    from audit.live import LiveSettings
    from commands import watch as room

    if not (0 < share <= 1 and 0 < threshold <= 1):
        raise typer.BadParameter("--share and --threshold are above 0 and at most 1")
    if json and not once:
        raise typer.BadParameter("--json goes with --once")
    return room.watch(
        session(context),
        LiveSettings(share=share, seed=seed, threshold=threshold),
        host=host,
        port=port,
        every_seconds=every,
        once=once,
        json=json,
    )


def explain(
    context: typer.Context,
    request_id: Annotated[str, typer.Argument(help="The answer's x-request-id header.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; below HOME's reports by default.")
    ] = None,
    json: Json = False,
) -> int:
    """Show why a request was answered so.

    Writes checkpoint, verdict, tokens, attribution and scores as one HTML page that opens
    offline. Needs a conversation that was stored.

    \b
    Example: hallmark explain 7c9e6679-7425-40de-944b-e07fc1f90ae7 --out why.html
    """
    from commands import explain as room

    return room.explain(session(context), request_id, out=out, json=json)
