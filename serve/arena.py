"""The arena: two anonymous answers to one prompt, a vote, and a board of strengths.

    POST /v1/arena/battles    {"messages": [...]}: two answers by two variants, in random order
    GET  /v1/arena/board      Bradley-Terry strengths of checkpoints from all votes

A vote is feedback of the metric ``arena``. Battles are asked with a pinned variant, so that
they are in no experiment, and go through the same door as every request: keys, limits,
records. Who answered is not in the reply; the votes are joined with it on reading.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from monitoring.experiments import bradley_terry
from registry.records import Record
from registry.served import FeedbackRecord
from serve.desk import Desk
from serve.errors import ApiError
from serve.feedback_kinds import ARENA
from serve.limits import ClientGone, Message, Receive, Scope, Send

CHAT = "/v1/chat/completions"
RELAYED = (b"authorization", b"x-hallmark-unit", b"x-hallmark-consent")
OURS = ("model", "stream", "stream_options", "n")

App = Callable[[Scope, Receive, Send], Any]


class Standing(Record):
    """One checkpoint on the board. ``strength`` in log-odds against the mean; None undefined."""

    checkpoint: str
    variants: tuple[str, ...]
    votes: int
    wins: int
    losses: int
    ties: int
    strength: float | None


class Board(Record):
    """Strongest first. ``waiting`` votes speak of answers that are not recorded (yet)."""

    votes: int
    waiting: int
    undefined: str | None
    standings: tuple[Standing, ...]


def board(votes: Iterable[FeedbackRecord], who: Mapping[str, tuple[str, str]]) -> Board:
    """Strengths from votes, oldest first; ``who`` gives checkpoint and variant of answers.

    A person's later vote on the same pair replaces the earlier one. A tie is half a win for
    both. Votes between two answers of one checkpoint say nothing and are left out.
    """
    latest: dict[tuple[str, frozenset[str]], FeedbackRecord] = {}
    for vote in votes:
        latest[(vote.user_digest or vote.feedback_id, frozenset(vote.compared))] = vote
    wins: dict[tuple[str, str], float] = {}
    tally: dict[str, dict[str, int]] = {}
    names: dict[str, set[str]] = {}
    waiting = counted = 0
    for vote in latest.values():
        first, second = vote.compared
        if first not in who or second not in who:
            waiting += 1
            continue
        (winner, _), (loser, _) = who[first], who[second]
        if winner == loser:
            continue
        counted += 1
        for one in (first, second):
            checkpoint, variant = who[one]
            names.setdefault(checkpoint, set()).add(variant)
            tally.setdefault(checkpoint, {"wins": 0, "losses": 0, "ties": 0})
        tied = len(vote.ranking or ()) == 1
        for pair in ((winner, loser), (loser, winner)) if tied else ((winner, loser),):
            wins[pair] = wins.get(pair, 0.0) + (0.5 if tied else 1.0)
        tally[winner]["ties" if tied else "wins"] += 1
        tally[loser]["ties" if tied else "losses"] += 1
    strengths: Mapping[str, float] = {}
    undefined = None
    try:
        strengths = bradley_terry(wins) if wins else {}
    except ValueError as error:
        undefined = f"{error}; more votes will settle it"
    standings = [
        Standing(
            checkpoint=checkpoint,
            variants=tuple(sorted(names[checkpoint])),
            votes=sum(counts.values()),
            **counts,
            strength=strengths.get(checkpoint),
        )
        for checkpoint, counts in tally.items()
    ]
    standings.sort(key=lambda one: (-(one.strength or 0.0), -one.wins, one.checkpoint))
    return Board(votes=counted, waiting=waiting, undefined=undefined, standings=tuple(standings))


async def ask(app: App, request: Request, body: Mapping[str, Any]) -> tuple[str, str]:
    """Request id and text of an answer that ``app``, the hot route, gives in this process.

    Raises ApiError as the route answered it, ClientGone where nobody waits any more.
    """
    raw = json.dumps(body).encode()
    headers = [pair for pair in request.scope["headers"] if pair[0] in RELAYED]
    headers += [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(raw)).encode()),
    ]
    scope = {
        **{key: request.scope[key] for key in ("type", "asgi", "http_version", "scheme")},
        **{key: request.scope.get(key) for key in ("client", "server")},
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
    }
    sent = False
    head: dict[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return await request.receive()
        sent = True
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            head.update(status=message["status"], headers=dict(message["headers"]))
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    if not head:
        raise ClientGone
    answer = json.loads(b"".join(parts))
    if head["status"] != 200:
        raise _refused(head, answer)
    text = answer["choices"][0]["message"].get("content") or ""
    return head["headers"][b"x-request-id"].decode(), text


def _refused(head: Mapping[str, Any], answer: Mapping[str, Any]) -> ApiError:
    error = answer.get("error") or {}
    retry = head["headers"].get(b"retry-after", b"")
    return ApiError(
        head["status"],
        str(error.get("message") or "an answer failed"),
        str(error.get("code") or "upstream_failed"),
        error.get("param"),
        retry_after_seconds=int(retry) if retry.isdigit() else None,
    )


def routes(
    desk: Desk,
    app: App,
    model: str,
    variants: Callable[[], Mapping[str, str]],
    rng: random.Random,
) -> APIRouter:
    """``variants`` gives the checkpoints, by variant, that can answer now."""
    router = APIRouter()

    @router.post("/v1/arena/battles")
    async def battle(request: Request) -> JSONResponse:
        desk.authorize(request)
        body = _battle_body(await desk.body(request))
        pair = _draw(variants(), rng)
        asked = [{**body, "model": f"{model}@{name}", "stream": False} for name in pair]
        tasks = [asyncio.create_task(ask(app, request, one)) for one in asked]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        data = [{"request_id": request_id, "text": text} for request_id, text in answers]
        return JSONResponse({"object": "arena.battle", "answers": data})

    @router.get("/v1/arena/board")
    async def standings(request: Request) -> JSONResponse:
        desk.authorize(request)
        found = await asyncio.to_thread(_read, desk)
        return JSONResponse({"object": "arena.board", **found.model_dump(mode="json")})

    return router


def _read(desk: Desk) -> Board:
    votes = list(desk.store.votes(ARENA))
    ids = sorted({one for vote in votes for one in vote.compared})
    return board(votes, desk.store.who_answered(ids))


def _battle_body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the battle is no valid JSON: {error}", "invalid_json") from error
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise ApiError(400, "a battle needs messages, a list", "invalid_request", "messages")
    for name in OURS:
        if name in body:
            raise ApiError(400, f"a battle sets {name} itself", "invalid_request", name)
    return body


def _draw(variants: Mapping[str, str], rng: random.Random) -> tuple[str, str]:
    """Two variants with different checkpoints, in random order."""
    names = sorted(variants)
    pairs = [(a, b) for a in names for b in names if variants[a] != variants[b]]
    if not pairs:
        raise ApiError(
            409,
            f"a battle needs two variants with different checkpoints; up are "
            f"{', '.join(names) or 'none'}",
            "no_battle",
        )
    return rng.choice(pairs)
