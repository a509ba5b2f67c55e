"""Quotas: what is taken, what is given back, when; in memory and in a real Redis alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from registry.api_keys import ApiKey
from serve.errors import ApiError
from serve.keys import BEGINNING, new_key
from serve.quotas import (
    Bucket,
    MemoryQuotas,
    QuotaError,
    Quotas,
    Reservation,
    UncountedQuotas,
    open_quotas,
    refuse_unshared,
    tokens_asked,
    tokens_to_charge,
)
from serve.quotas_redis import RedisQuotas
from tests.redis_server import RedisServer


def limited(**limits: int) -> ApiKey:
    return new_key("web", ["chat"], now=BEGINNING, **limits)[1]


UNLIMITED = limited()


@pytest.fixture(scope="module")
def redis(needs_program: Callable[[str], str]) -> Iterator[RedisServer]:
    server = RedisServer(needs_program("redis-server"))
    server.start()
    yield server
    server.close()


@pytest.fixture(params=["memory", "redis"])
async def quotas(request: pytest.FixtureRequest) -> AsyncIterator[Quotas]:
    if request.param == "memory":
        made: Quotas = MemoryQuotas()
    else:
        made = RedisQuotas(request.getfixturevalue("redis").url)
    yield made
    await made.close()


async def refused(quotas: Quotas, key: ApiKey, tokens: int | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await quotas.reserve(key, tokens)
    return caught.value


async def settled(quotas: Quotas) -> None:
    """Redis hears of a settlement a moment later."""
    if isinstance(quotas, RedisQuotas):
        while quotas._settling:
            await asyncio.sleep(0.001)


async def test_a_key_without_limits_reserves_nothing(quotas):
    assert await quotas.reserve(UNLIMITED, 10**9) is None


async def test_no_more_requests_at_a_time_than_the_key_may_have(quotas):
    key = limited(max_concurrent=2)
    first = await quotas.reserve(key, None)
    await quotas.reserve(key, None)
    error = await refused(quotas, key)
    assert (error.status, error.retry_after_seconds) == (429, 1)
    assert "2 requests at a time" in error.message
    quotas.settle(first, 0)
    await settled(quotas)
    assert await quotas.reserve(key, None) is not None


async def test_a_burst_is_counted_exactly(quotas):
    key = limited(max_concurrent=5)
    results = await asyncio.gather(
        *(quotas.reserve(key, None) for _ in range(50)), return_exceptions=True
    )
    assert sum(isinstance(result, ApiError) for result in results) == 45


async def test_a_minutes_requests_may_be_used_at_once(quotas):
    key = limited(requests_per_minute=6)
    for _ in range(6):
        assert await quotas.reserve(key, None) is not None
    error = await refused(quotas, key)
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert error.retry_after_seconds in (9, 10)


async def test_what_was_used_comes_back_evenly(quotas):
    key = limited(requests_per_minute=60)
    taken = await asyncio.gather(
        *(quotas.reserve(key, None) for _ in range(90)), return_exceptions=True
    )
    refusals = [one for one in taken if isinstance(one, ApiError)]
    assert {one.status for one in refusals} == {429}
    assert len(refusals) <= 30
    await asyncio.sleep(1.1)
    assert await quotas.reserve(key, None) is not None


async def test_tokens_are_reserved_by_max_tokens_and_charged_by_usage(quotas):
    key = limited(tokens_per_minute=1000)
    first = await quotas.reserve(key, 900)
    error = await refused(quotas, key, 200)
    assert error.status == 429
    # 100 are left, 100 more come at 1000 a minute: 6 s.
    assert error.retry_after_seconds == 6
    quotas.settle(first, 300)
    await settled(quotas)
    assert await quotas.reserve(key, 690) is not None
    assert (await refused(quotas, key, 60)).status == 429


async def test_what_was_used_beyond_the_reservation_is_owed(quotas):
    key = limited(tokens_per_minute=600)
    first = await quotas.reserve(key, 100)
    quotas.settle(first, 1200)
    await settled(quotas)
    # 600 short, and 1 wanted: 601 at 10 a second.
    error = await refused(quotas, key, 1)
    assert error.retry_after_seconds in (60, 61)


async def test_a_request_that_says_no_maximum_reserves_256_at_most_what_there_is(quotas):
    key = limited(tokens_per_minute=300)
    assert (await quotas.reserve(key, None)).tokens == 256
    assert (await refused(quotas, key, None)).status == 429
    small = limited(tokens_per_minute=10)
    assert (await quotas.reserve(small, None)).tokens == 10


async def test_more_than_the_key_can_ever_have_is_400_and_not_a_wait(quotas):
    error = await refused(quotas, limited(tokens_per_minute=100), 101)
    assert (error.status, error.retry_after_seconds) == (400, None)
    assert "ask for fewer with max_tokens" in error.message


async def test_a_refusal_takes_nothing(quotas):
    key = limited(requests_per_minute=6, tokens_per_minute=600, max_concurrent=1)
    first = await quotas.reserve(key, 10)
    for _ in range(200):
        await refused(quotas, key, 10)
    quotas.settle(first, 10)
    await settled(quotas)
    for _ in range(5):
        held = await quotas.reserve(key, 10)
        quotas.settle(held, 10)
        await settled(quotas)
    assert "requests a minute" in (await refused(quotas, key, 10)).message


async def test_without_a_settlement_of_tokens_the_reservation_is_the_charge(quotas):
    key = limited(tokens_per_minute=100)
    held = await quotas.reserve(key, 100)
    quotas.settle(held, None)
    await settled(quotas)
    assert (await refused(quotas, key, 50)).retry_after_seconds in (29, 30)


async def test_a_caller_that_is_cancelled_leaves_no_slot_taken(quotas):
    key = limited(max_concurrent=1)
    for pause in (0.0, 0.0001, 0.0005, 0.001, 0.002):
        task = asyncio.create_task(quotas.reserve(key, None))
        await asyncio.sleep(pause)
        if not task.cancel():
            quotas.settle(await task, 0)
        await asyncio.gather(task, return_exceptions=True)
        await settled(quotas)
        await asyncio.sleep(0.01)
    assert await quotas.reserve(key, None) is not None


async def test_by_a_clock_of_ones_own_a_bucket_refills_by_its_limit_a_minute():
    now = 100.0
    quotas = MemoryQuotas(clock=lambda: now)
    key = limited(requests_per_minute=2)
    await quotas.reserve(key, None)
    await quotas.reserve(key, None)
    assert (await refused(quotas, key)).retry_after_seconds == 30
    now = 129.9
    assert (await refused(quotas, key)).retry_after_seconds == 1
    now = 130.0
    assert await quotas.reserve(key, None) is not None


def test_a_bucket_never_holds_more_than_its_limit_nor_loses_by_a_clock_set_back():
    bucket = Bucket(limit=60, level=10, at=1000)
    bucket.refill(500)
    assert (bucket.level, bucket.at) == (10, 500)
    bucket.refill(510)
    assert bucket.level == 20
    bucket.refill(10**9)
    assert bucket.level == 60


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 5}, 5),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"max_tokens": 7, "prompt": ["a", "b"]}, 14),
        ({"max_tokens": 7, "prompt": [1, 2, 3]}, 7),
        ({"max_tokens": 7, "prompt": []}, 7),
        ({"max_tokens": True}, None),
        ({"max_tokens": "many"}, None),
        ({"max_tokens": -1, "n": 4}, None),
    ],
)
def test_what_a_request_asks_for_is_its_maximum_times_its_answers(body, tokens):
    assert tokens_asked(body) == tokens


@pytest.mark.parametrize(
    ("status", "usage", "charge"),
    [
        (200, (5, 7), 12),
        (499, (5, 0), 5),
        (499, (None, None), None),
        (200, (None, None), None),
        (None, (None, None), None),
        (429, (None, None), 0),
        (503, (None, None), 0),
    ],
)
def test_refusals_cost_nothing_and_hanging_up_does_not_help(status, usage, charge):
    assert tokens_to_charge(status, usage) == charge


async def test_a_reservation_that_arrives_after_it_was_given_up_takes_nothing(redis):
    key = limited(max_concurrent=1)
    quotas = RedisQuotas(redis.url)
    late = Reservation(key, 0)
    quotas.settle(late, 0)
    await settled(quotas)
    await quotas._take(late)
    assert await quotas.reserve(key, None) is not None
    await quotas.close()


async def test_two_gateways_share_what_a_key_may_have(redis):
    key = limited(requests_per_minute=60, max_concurrent=3)
    first, second = RedisQuotas(redis.url), RedisQuotas(redis.url)
    held = [await first.reserve(key, None), await second.reserve(key, None)]
    held.append(await first.reserve(key, None))
    await refused(second, key)
    second.settle(held[1], 0)
    await settled(second)
    assert await first.reserve(key, None) is not None
    await first.close()
    await second.close()


async def test_slots_of_a_gateway_that_died_are_free_after_its_lease(redis):
    key = limited(max_concurrent=1)
    dead, alive = RedisQuotas(redis.url, lease_seconds=0.6), RedisQuotas(redis.url)
    await dead.reserve(key, None)
    await asyncio.sleep(0.9)
    await refused(alive, key)  # its lease is renewed while it lives
    dead._renewer.cancel()
    await asyncio.sleep(0.9)
    assert await alive.reserve(key, None) is not None
    await dead.close()
    await alive.close()


async def test_while_redis_is_away_limited_keys_get_503_and_others_their_answers(needs_program):
    server = RedisServer(needs_program("redis-server"))
    server.start()
    quotas = RedisQuotas(server.url)
    key = limited(max_concurrent=1)
    try:
        held = await quotas.reserve(key, None)
        server.stop()
        error = await refused(quotas, key)
        assert (error.status, error.retry_after_seconds) == (503, 5)
        assert "Redis does not answer" in error.message
        assert "sock" not in error.message
        assert await quotas.reserve(UNLIMITED, None) is None
        quotas.settle(held, 3)
        server.start()
        assert await quotas.reserve(key, None) is not None  # it forgot all, and counts anew
    finally:
        await quotas.close()
        server.close()


async def test_what_redis_holds_is_forgotten_once_it_says_nothing_any_more(redis):
    key = limited(requests_per_minute=60, max_concurrent=1)
    quotas = RedisQuotas(redis.url)
    await quotas.reserve(key, None)
    for name in (f"hallmark:quota:{{{key.key_id}}}", f"hallmark:quota:{{{key.key_id}}}:running"):
        left_ms = int(redis.command("PTTL", name).strip(b":\r\n"))
        assert 0 < left_ms <= 180_000
    await quotas.close()


def test_an_address_that_is_none_is_refused_without_showing_it():
    with pytest.raises(QuotaError, match="HALLMARK_REDIS_URL is no address") as caught:
        RedisQuotas("http://user:geheim@cache:6379")
    assert "geheim" not in str(caught.value)


async def test_several_workers_without_redis_refuse_limits_at_start_and_later():
    keys = [UNLIMITED, limited(max_concurrent=1)]
    with pytest.raises(QuotaError, match=r"2 workers .*\(web\).* HALLMARK_REDIS_URL"):
        refuse_unshared(keys, workers=2, shared=False)
    refuse_unshared(keys, workers=1, shared=False)
    refuse_unshared(keys, workers=2, shared=True)
    refuse_unshared([UNLIMITED], workers=2, shared=False)
    late = open_quotas(None, workers=2)
    assert isinstance(late, UncountedQuotas)
    assert await late.reserve(UNLIMITED, None) is None
    assert (await refused(late, keys[1])).status == 503
