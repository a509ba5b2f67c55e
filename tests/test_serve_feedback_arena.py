"""The arena: two anonymous answers through the same door as all, votes, and the board."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import pytest

from registry.ledger import Ledger
from registry.served import FeedbackRecord
from serve.arena import board
from tests.ledgers import NOON
from tests.serving_fake import Bench, bench

MESSAGES = {"messages": [{"role": "user", "content": "Where is it?"}]}


def votes(*counts: tuple[str, str, int], tie: bool = False) -> list[FeedbackRecord]:
    """``(winner, loser, how often)``; ids are the names with a number behind."""
    made = []
    for winner, loser, count in counts:
        for number in range(count):
            name = f"{winner}{loser}{number}{tie}"
            ids = (f"{winner}-{name}", f"{loser}-{name}")
            made.append(
                FeedbackRecord(
                    feedback_id=name,
                    request_id=ids[0],
                    kind="vote",
                    metric="arena",
                    ranking=(ids,) if tie else ((ids[0],), (ids[1],)),
                    created_at=NOON,
                )
            )
    return made


def who(records: Iterable[FeedbackRecord]) -> dict[str, tuple[str, str]]:
    ids = [one for record in records for one in record.compared]
    return {one: (f"sha256:{one[0]}", f"variant-{one[0]}") for one in ids}


def test_strengths_are_those_of_the_published_votes() -> None:
    # The project's reference: a>b 7-3, a>c 8-2, b>c 6-4 -> .740570, -.149102, -.591468.
    cast = votes(("a", "b", 7), ("b", "a", 3), ("a", "c", 8), ("c", "a", 2), ("b", "c", 6),
                 ("c", "b", 4))  # fmt: skip
    found = board(cast, who(cast))
    assert [one.checkpoint for one in found.standings] == ["sha256:a", "sha256:b", "sha256:c"]
    strengths = [one.strength for one in found.standings]
    assert strengths == pytest.approx([0.740570, -0.149102, -0.591468], abs=1e-6)
    first = found.standings[0]
    assert (first.votes, first.wins, first.losses, first.ties) == (20, 15, 5, 0)
    assert first.variants == ("variant-a",)
    assert (found.votes, found.waiting, found.undefined) == (30, 0, None)


def test_a_tie_is_half_a_win_for_both() -> None:
    cast = votes(("a", "b", 5), tie=True)
    found = board(cast, who(cast))
    assert [one.strength for one in found.standings] == pytest.approx([0, 0])
    assert [one.ties for one in found.standings] == [5, 5]


def test_without_a_loss_there_is_no_strength_and_the_board_says_why() -> None:
    cast = votes(("a", "b", 5))
    found = board(cast, who(cast))
    assert [one.strength for one in found.standings] == [None, None]
    assert found.undefined is not None
    assert "more votes will settle it" in found.undefined
    empty = board([], {})
    assert (empty.votes, empty.undefined, empty.standings) == (0, None, ())


def test_votes_on_answers_not_yet_recorded_wait() -> None:
    cast = votes(("a", "b", 2), ("b", "a", 1))
    known = who(cast[1:])
    assert (board(cast, known).votes, board(cast, known).waiting) == (2, 1)


def test_a_person_changes_their_vote_and_never_votes_twice() -> None:
    first, back = votes(("a", "b", 1))[0], votes(("b", "a", 1))[0]
    ids = first.compared
    mine = [
        first.model_copy(update={"user_digest": "me"}),
        back.model_copy(
            update={"user_digest": "me", "request_id": ids[1], "ranking": ((ids[1],), (ids[0],))}
        ),
    ]
    found = board(mine, who(mine))
    assert {one.checkpoint: one.wins for one in found.standings} == {"sha256:a": 0, "sha256:b": 1}


def test_votes_between_answers_of_one_checkpoint_say_nothing() -> None:
    cast = votes(("a", "b", 1))
    same = dict.fromkeys(cast[0].compared, ("sha256:a", "a"))
    assert board(cast, same).standings == ()


# Over HTTP


@pytest.fixture
async def gateway(ledger: Ledger) -> AsyncIterator[Bench]:
    async with bench(ledger=ledger) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def battle(
    http: aiohttp.ClientSession, gateway: Bench, **fields: Any
) -> tuple[int, dict[str, Any]]:
    body = {**MESSAGES, **fields}
    async with http.post(gateway.root + "/v1/arena/battles", json=body) as answer:
        return answer.status, await answer.json()


async def test_a_battle_is_answered_by_both_variants_and_names_neither(gateway, http, ledger):
    gateway.engines["a"].words, gateway.engines["b"].words = ("from one",), ("from another",)
    status, body = await battle(http, gateway, temperature=0.5)
    assert status == 200
    assert {one["text"] for one in body["answers"]} == {"from one", "from another"}
    assert all(one.keys() == {"request_id", "text"} for one in body["answers"])
    assert [engine.bodies[0]["temperature"] for engine in gateway.engines.values()] == [0.5, 0.5]
    for one in body["answers"]:
        for _ in range(200):
            if (found := ledger.request(one["request_id"])) is not None:
                break
            await asyncio.sleep(0.02)
        assert found is not None
        assert (found.pinned, found.variant) == (True, "a" if one["text"] == "from one" else "b")


async def test_a_vote_reaches_the_board_once_both_answers_are_recorded(gateway, http, ledger):
    for winner in (0, 1):
        _, body = await battle(http, gateway)
        ids = [one["request_id"] for one in body["answers"]]
        vote = {"metric": "arena", "ranking": [ids[winner], ids[1 - winner]]}
        async with http.post(gateway.root + "/v1/feedback", json=vote) as answer:
            assert answer.status == 201
    for _ in range(200):
        async with http.get(gateway.root + "/v1/arena/board") as answer:
            found = await answer.json()
        if found["votes"] == 2:
            break
        await asyncio.sleep(0.02)
    assert (found["votes"], found["waiting"]) == (2, 0)
    assert {one["checkpoint"] for one in found["standings"]} == {
        "sha256:" + "a" * 64, "sha256:" + "b" * 64,
    }  # fmt: skip
    assert sum(one["wins"] for one in found["standings"]) == 2


async def test_the_sides_are_drawn_so_that_neither_variant_is_always_left(gateway, http):
    gateway.engines["a"].words, gateway.engines["b"].words = ("one",), ("two",)
    left = [(await battle(http, gateway))[1]["answers"][0]["text"] for _ in range(24)]
    assert set(left) == {"one", "two"}  # all alike once in 2**23 times


async def test_a_battle_needs_two_variants_that_are_up(gateway, http):
    gateway.standing.upstreams["b"].state = "down"
    status, body = await battle(http, gateway)
    assert (status, body["error"]["code"]) == (409, "no_battle")
    assert "up are a" in body["error"]["message"]


@pytest.mark.parametrize(
    "fields", [{"model": "support@a"}, {"stream": True}, {"n": 2}, {"messages": "hi"}]
)
async def test_a_battle_sets_the_model_itself(gateway, http, fields):
    status, body = await battle(http, gateway, **fields)
    assert (status, body["error"]["param"]) == (400, next(iter(fields)))


async def test_where_one_answer_fails_the_battle_fails_as_that_answer_did(gateway, http):
    messages = [{"role": "user", "content": "context"}]
    status, body = await battle(http, gateway, messages=messages)
    assert status == 400
    assert "maximum context length" in body["error"]["message"]


async def test_a_person_who_goes_away_frees_both_engines(gateway):
    messages = [{"role": "user", "content": "wait"}]
    async with aiohttp.ClientSession() as session:
        url = gateway.root + "/v1/arena/battles"
        asking = asyncio.create_task(session.post(url, json={"messages": messages}))
        for engine in gateway.engines.values():
            await asyncio.wait_for(engine.started.wait(), 5)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    for _ in range(250):
        if all(engine.cancelled for engine in gateway.engines.values()):
            break
        await asyncio.sleep(0.02)
    assert [engine.cancelled for engine in gateway.engines.values()] == [1, 1]


async def test_a_battle_wants_the_same_key_as_a_chat():
    async with bench(api_keys=("secret",)) as gateway, aiohttp.ClientSession() as http:
        assert (await battle(http, gateway))[0] == 401
        assert gateway.engines["a"].bodies == []
