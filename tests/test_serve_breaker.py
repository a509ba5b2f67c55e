"""Which replica answers, who waits, who is refused, and whom a breaker leaves alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve.breaker import Breaker
from serve.engine_client import UpstreamFailure
from serve.errors import ApiError
from serve.replicas import Fleet, Replicas
from serve.upstream import Upstream


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def upstream(name: str = "a", max_in_flight: int = 2) -> Upstream:
    made = Upstream(
        name, "sha256:aa", Path("/nowhere"), max_in_flight=max_in_flight, silence_seconds=1
    )
    made.state = "up"
    return made


def replicas(
    count: int = 1,
    clock: Clock | None = None,
    *,
    slots: int = 2,
    max_queued: int = 0,
    queue_seconds: float = 1.0,
) -> Replicas:
    members = tuple(upstream(max_in_flight=slots) for _ in range(count))
    return Replicas(
        "a",
        "sha256:aa",
        max_queued=max_queued,
        queue_seconds=queue_seconds,
        members=members,
        clock=clock or Clock(),
    )


def fail(pool: Replicas, member: Upstream, times: int = 1, *, gone: bool = False) -> None:
    for _ in range(times):
        member.in_flight += 1
        pool.give_back(member, "failed", gone=gone)


def test_three_failures_in_a_row_open_a_breaker_and_a_success_between_does_not():
    breaker = Breaker(Clock())
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed):
        outcome()
    assert breaker.state == "closed"
    breaker.failed()
    breaker.failed()
    assert breaker.state == "open"
    assert not breaker.passes


def test_an_engine_that_is_not_there_opens_it_at_once():
    breaker = Breaker(Clock())
    breaker.failed(gone=True)
    assert breaker.state == "open"


def test_after_the_pause_one_request_is_the_trial_and_its_success_closes():
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(gone=True)
    clock.now += 1.0
    assert breaker.state == "half open"
    breaker.enter()
    assert not breaker.passes  # one at a time
    breaker.succeeded()
    assert (breaker.state, breaker.passes) == ("closed", True)


def test_each_failed_trial_doubles_the_pause_up_to_half_a_minute():
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(gone=True)
    pauses = []
    for _ in range(7):
        pauses.append(breaker.wait_seconds)
        clock.now += breaker.wait_seconds
        breaker.enter()
        breaker.failed()
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_trial_whose_client_left_is_made_again():
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(gone=True)
    clock.now += 1.0
    breaker.enter()
    breaker.unknown()
    assert breaker.passes


async def test_without_a_unit_the_least_loaded_answers():
    pool = replicas(3, slots=9)
    for _ in range(9):
        await pool.take(None)
    assert [member.in_flight for member in pool.members] == [3, 3, 3]


async def test_a_unit_stays_with_its_replica_while_the_load_is_even():
    pool = replicas(3, slots=99)
    homes: dict[str, set[int]] = {}
    for unit in [f"u{number}" for number in range(60)] * 3:
        chosen = await pool.take(unit)
        homes.setdefault(unit, set()).add(pool.members.index(chosen))
        pool.give_back(chosen, "answered")
    assert all(len(seen) == 1 for seen in homes.values())
    used = Counter(next(iter(seen)) for seen in homes.values())
    assert min(used.values()) >= 10  # of 20 each


async def test_one_busy_unit_cannot_load_its_replica_beyond_a_quarter_over_the_mean():
    pool = replicas(4, slots=99)
    for _ in range(80):
        await pool.take("the same")
    # ceil(1.25 * 80 / 4) = 25: what the bound allows with 80 in flight on four.
    assert max(member.in_flight for member in pool.members) == 25


async def test_losing_a_replica_moves_only_its_own_units():
    pool = replicas(3, slots=99)
    units = [f"u{number}" for number in range(60)]

    async def homes() -> dict[str, Upstream]:
        found = {}
        for unit in units:
            found[unit] = await pool.take(unit)
            pool.give_back(found[unit], "answered")
        return found

    before = await homes()
    pool.members[0].state = "down"
    after = await homes()
    moved = {unit for unit in units if before[unit] is not after[unit]}
    assert moved == {unit for unit in units if before[unit] is pool.members[0]}


async def test_a_failing_replica_is_left_alone_and_the_others_answer():
    pool = replicas(2)
    fail(pool, pool.members[0], 3)
    assert pool.open_breakers == 1
    assert {await pool.take(None) for _ in range(2)} == {pool.members[1]}


async def test_with_every_breaker_open_503_says_when_to_come_again():
    clock = Clock()
    pool = replicas(1, clock)
    fail(pool, pool.members[0], gone=True)
    with pytest.raises(ApiError) as caught:
        await pool.take(None)
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1)
    clock.now += 1.0
    assert await pool.take(None) is pool.members[0]


async def test_a_trial_that_streams_lets_others_in_once_its_answer_has_begun():
    clock = Clock()
    pool = replicas(1, clock)
    fail(pool, pool.members[0], gone=True)
    clock.now += 1.0
    lease = await Fleet({"a": pool}).lease("a", None, pinned=False)
    with pytest.raises(ApiError):
        await pool.take(None)
    lease.heard()
    assert await pool.take(None) is pool.members[0]


async def test_a_restarted_engine_begins_with_a_closed_breaker():
    pool = replicas(1)
    fail(pool, pool.members[0], gone=True)
    pool.started(pool.members[0])
    assert await pool.take(None) is pool.members[0]


async def test_a_full_queue_is_429_at_once_and_a_wait_ends_in_429_too():
    pool = replicas(1, slots=1, max_queued=1, queue_seconds=0.1)
    await pool.take(None)
    waiting = asyncio.create_task(pool.take(None))
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ApiError) as caught:
        await pool.take(None)
    assert asyncio.get_running_loop().time() - began < 0.05
    assert (caught.value.status, caught.value.code) == (429, "overloaded")
    with pytest.raises(ApiError) as caught:
        await waiting
    assert caught.value.status == 429
    assert pool.queued == 0


async def test_those_who_wait_get_slots_in_their_order():
    pool = replicas(1, slots=1, max_queued=5, queue_seconds=5)
    first = await pool.take(None)
    order: list[int] = []

    async def one(number: int) -> None:
        taken = await pool.take(None)
        order.append(number)
        pool.give_back(taken, "answered")

    tasks = [asyncio.create_task(one(number)) for number in range(4)]
    await asyncio.sleep(0)
    pool.give_back(first, "answered")
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]
    assert first.in_flight == 0


async def test_a_client_that_leaves_the_queue_leaves_no_slot_taken():
    pool = replicas(1, slots=1, max_queued=5, queue_seconds=5)
    first = await pool.take(None)
    leaver = asyncio.create_task(pool.take(None))
    await asyncio.sleep(0)
    pool.give_back(first, "answered")  # the slot is the leaver's now, who does not know it yet
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert (first.in_flight, pool.queued) == (0, 0)


async def test_those_who_wait_hear_at_once_that_the_engine_is_gone():
    pool = replicas(1, slots=1, max_queued=5, queue_seconds=30)
    await pool.take(None)
    waiting = asyncio.create_task(pool.take(None))
    await asyncio.sleep(0)
    pool.members[0].state = "down"
    pool.changed()
    with pytest.raises(ApiError) as caught:
        await asyncio.wait_for(waiting, 1)
    assert caught.value.status == 503


async def test_after_a_flip_those_who_waited_are_answered_by_the_new_engine():
    pool = replicas(1, slots=1, max_queued=5, queue_seconds=30)
    old = await pool.take(None)
    waiting = asyncio.create_task(pool.take(None))
    await asyncio.sleep(0)
    new = upstream()
    assert pool.flip([new], "sha256:bb") == (old,)
    assert await waiting is new
    pool.give_back(old, "answered")
    assert (old.in_flight, pool.checkpoint) == (0, "sha256:bb")


def fleet(cross_to: str | None = None, count: int = 1) -> Fleet:
    pools = {
        name: Replicas(
            name, "sha256:aa", members=tuple(upstream(name, 1) for _ in range(count)), clock=Clock()
        )
        for name in "ab"
    }
    return Fleet(pools, cross_to)


async def test_a_retry_goes_to_another_replica_of_the_same_variant_and_is_bounded():
    made = fleet(count=5)
    lease = await made.lease("a", "u1", pinned=False)
    seen = [lease.upstream]
    while lease.move_on(UpstreamFailure("connect", "the engine is not there")):
        seen.append(lease.upstream)
    assert len(seen) == len(set(map(id, seen))) == 3  # the first, and two more
    assert {one.name for one in seen} == {"a"}
    lease.close("failed")
    assert sum(one.in_flight for one in made.replicas["a"].members) == 0


async def test_a_timeout_is_not_asked_again():
    made = fleet(count=2)
    lease = await made.lease("a", None, pinned=False)
    assert not lease.move_on(UpstreamFailure("timeout", "the engine fell silent"))


async def test_with_one_replica_there_is_nobody_to_move_to():
    made = fleet()
    lease = await made.lease("a", None, pinned=False)
    assert not lease.move_on(UpstreamFailure("connect", "the engine is not there"))
    assert lease.upstream.in_flight == 1


async def test_closing_a_lease_twice_gives_one_slot_back():
    made = fleet()
    lease = await made.lease("a", None, pinned=False)
    lease.close("answered")
    lease.close("failed")
    assert lease.upstream.in_flight == 0


async def test_nobody_crosses_to_another_variant_unless_the_plan_lets_them():
    made = fleet()
    made.replicas["a"].members[0].state = "down"
    with pytest.raises(ApiError) as caught:
        await made.lease("a", None, pinned=False)
    assert caught.value.status == 503


async def test_a_crossed_answer_names_the_variant_that_was_meant():
    made = fleet(cross_to="b")
    assert (await made.lease("a", None, pinned=False)).crossed_from is None
    made.replicas["a"].members[0].state = "down"
    lease = await made.lease("a", None, pinned=False)
    assert (lease.crossed_from, lease.upstream.name) == ("a", "b")


async def test_overload_and_pinned_requests_never_cross():
    made = fleet(cross_to="b")
    await made.lease("a", None, pinned=False)
    with pytest.raises(ApiError) as caught:  # busy is no reason: it would load the other arm
        await made.lease("a", None, pinned=False)
    assert caught.value.status == 429
    made.replicas["a"].members[0].state = "down"
    with pytest.raises(ApiError) as caught:
        await made.lease("a", None, pinned=True)
    assert caught.value.status == 503


async def test_the_checkpoints_that_pins_are_looked_up_in_follow_a_flip():
    made = fleet()
    made.replicas["a"].flip([upstream()], "sha256:bb")
    assert dict(made.checkpoints) == {"a": "sha256:bb", "b": "sha256:aa"}
