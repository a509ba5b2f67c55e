"""Options and arguments that several commands take, each described once, and their session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from commands.session import Session

Home = Annotated[
    Path, typer.Option(envvar="HALLMARK_HOME", help="Where checkpoints and evidence live.")
]
LedgerUrl = Annotated[
    str | None,
    typer.Option(envvar="HALLMARK_LEDGER_URL", help="SQL database; SQLite in HOME by default."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Checkpoint = Annotated[
    str,
    typer.Argument(
        help="An alias, a name, a digest (8 hex digits are enough), a folder, or a URI such as "
        "s3://BUCKET/NAME."
    ),
]
PolicyFile = Annotated[
    str, typer.Option(help="A policy file, or the name of a shipped one: support, real.")
]
Seed = Annotated[int, typer.Option(help="Fixes everything random.")]
DatasetName = Annotated[str, typer.Option(help="The dataset's name in the ledger.")]
NewName = Annotated[str, typer.Option(help="The new checkpoint's name.")]
Alias = Annotated[str, typer.Option(help="The alias to move.")]
Reason = Annotated[str, typer.Option(help="Kept in the history.")]
Port = Annotated[int, typer.Option(envvar="HALLMARK_PORT", help="Where the server listens.")]
Host = Annotated[str, typer.Option(envvar="HALLMARK_HOST", help="The address to listen on.")]


def session(context: typer.Context) -> Session:
    from commands.session import Session

    settings = context.find_root().params
    return Session.open(settings["home"], settings["ledger"])
