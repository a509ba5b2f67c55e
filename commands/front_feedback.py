"""Commands on what users said, as the front door shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Json, session

feedback_app = typer.Typer(no_args_is_help=True, help="What users said of the answers.")


@feedback_app.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where preferences.jsonl and labels.jsonl go.")],
    experiment: Annotated[str | None, typer.Option(help="Only this experiment's.")] = None,
    json: Json = False,
) -> int:
    """Write feedback as training data.

    Edits become pairs, thumbs become labelled completions.

    Only of people who did not refuse it; the ledger remembers which row came from which answer.

    \b
    Example: hallmark feedback export preferences/
    """
    from commands import feedback

    return feedback.export(session(context), folder, experiment=experiment, json=json)


@feedback_app.command()
def erase(
    context: typer.Context,
    user: Annotated[str, typer.Option(help="The id that the person's requests carried.")],
    json: Json = False,
) -> int:
    """Forget a person.

    Removes conversations, feedback, labels, and their rows in the next datasets.

    Prints a receipt with counts and digests and the checkpoints that saw the data, and keeps
    it in the ledger and below HOME's reports.

    \b
    Example: hallmark feedback erase --user customer-4711 --json
    """
    from commands import erasure

    return erasure.erase(session(context), user, json=json)


@feedback_app.command()
def retention(
    context: typer.Context,
    days: Annotated[float, typer.Option(min=0, help="Texts older than this go.")] = 90.0,
    json: Json = False,
) -> int:
    """Remove old conversations, edits and comments.

    Counts and thumbs stay. For cron.

    \b
    Example: hallmark feedback retention --days 30
    """
    from commands import erasure

    return erasure.retention(session(context), days, json=json)


@feedback_app.command()
def link(
    context: typer.Context,
    request_id: Annotated[str, typer.Argument(help="The answer's x-request-id header.")],
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 365, help="How long it opens.")] = 72.0,
    url: Annotated[str, typer.Option(help="The gateway's address.")] = "http://127.0.0.1:8000",
    json: Json = False,
) -> int:
    """A link by which an end user says something of one answer.

    It needs no API key.

    \b
    Example: hallmark feedback link req-0a1b --hours 24 --url https://chat.example.org
    """
    from commands import feedback

    return feedback.link(session(context), request_id, hours=hours, url=url, json=json)


@feedback_app.command()
def queue(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many answers.")] = 200,
    json: Json = False,
) -> int:
    """Fill the labelling queue (page /label).

    It gets the answers whose labels would teach most.

    \b
    Example: hallmark feedback queue --limit 50
    """
    from commands import feedback

    return feedback.queue(session(context), limit=limit, json=json)
