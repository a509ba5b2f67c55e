"""`hallmark keys`: who may ask the server, for what, and how much."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.options import Json, session

keys_app = typer.Typer(no_args_is_help=True, help="API keys: who may ask, for what, how much.")

KeyName = Annotated[str, typer.Argument(help="Whose key it is; one in use per name.")]


@keys_app.command("create")
def create(
    context: typer.Context,
    name: KeyName,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="chat, feedback or admin; repeatable. By default chat and feedback."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Prompt and answer together.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Requests answered at a time.")
    ] = None,
    json: Json = False,
) -> int:
    """Make a key and print it, this once: only its digest is kept.

    Running servers know it within seconds.

    \b
    Example: hallmark keys create web --scope chat --requests-per-minute 600
    """
    from datetime import UTC, datetime

    from commands.session import print_json
    from registry.api_keys import SCOPES, ApiKeyError
    from registry.records import describe_unknown
    from serve.keys import new_key

    opened = session(context)
    wanted = list(dict.fromkeys(scope or ["chat", "feedback"]))
    for one in wanted:
        if one not in SCOPES:
            raise ApiKeyError(describe_unknown("scope", one, list(SCOPES)))
    if not 0 < len(name) <= 64:
        raise ApiKeyError(f"a key's name has 1 to 64 characters, not {len(name)}")
    token, key = new_key(
        name,
        [known for known in SCOPES if known in wanted],
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_concurrent=max_concurrent,
        now=datetime.now(UTC),
    )
    opened.ledger.record_api_key(key)
    if json:
        print_json({"key": token, **key.model_dump(mode="json", exclude={"digest"})})
        return 0
    print(token)
    opened.say(f"this is the key of {name} for {', '.join(key.scopes)}; it is not shown again")
    opened.say("send it as 'Authorization: Bearer KEY'; servers know it within 5 seconds")
    return 0


@keys_app.command("list")
def show(context: typer.Context, json: Json = False) -> int:
    """All keys by name and prefix, revoked ones too.

    Shows their scopes and limits.

    \b
    Example: hallmark keys list --json
    """
    from commands.session import print_json, table

    opened = session(context)
    keys = opened.ledger.api_keys()
    if json:
        print_json([key.model_dump(mode="json", exclude={"digest"}) for key in keys])
        return 0
    columns = ("name", "key", "scopes", "requests/min", "tokens/min", "at a time", "state")
    rows = [
        (
            key.name,
            f"{key.prefix}...",
            ", ".join(key.scopes),
            key.requests_per_minute,
            key.tokens_per_minute,
            key.max_concurrent,
            f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "in use",
        )
        for key in keys
    ]
    opened.console.print(table("API keys", columns, rows))
    if not rows:
        opened.say("none: everybody may ask; hallmark keys create NAME makes the first")
    return 0


@keys_app.command("revoke")
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The key's name, or its prefix hm_...")],
) -> int:
    """End a key. Running servers refuse it within seconds; running answers finish.

    \b
    Example: hallmark keys revoke web
    """
    from datetime import UTC, datetime

    opened = session(context)
    ended = opened.ledger.revoke_api_key(key, datetime.now(UTC))
    opened.say(f"the key of {ended.name} ({ended.prefix}...) is revoked")
    return 0
