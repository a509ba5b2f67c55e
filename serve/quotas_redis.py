"""Quotas of several gateways or workers, counted in Redis by two scripts.

Each key has a hash of bucket levels and a sorted set of its running requests; a script runs
alone in the server, so what it checks is what it takes. Time is the server's (TIME), one clock
for all; where it is set back a bucket waits for no refill that it had, and where it is set
forward a bucket is full at most. A running request holds its slot by a lease that its gateway
renews: after a kill -9 the slots are free again within LEASE_SECONDS.

Fails closed: while Redis does not answer, a key with limits gets 503 with Retry-After. Keys
without limits never ask it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from registry.api_keys import ApiKey
from serve.quotas import (
    CONCURRENT_RETRY_SECONDS,
    QuotaError,
    Reservation,
    over_quota,
    tokens_to_reserve,
    uncounted,
)

log = logging.getLogger("hallmark.quotas")

LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
CONNECT_SECONDS = 2.0
REPLY_SECONDS = 2.0
MAX_CONNECTIONS = 32  # a burst of requests waits for one of these instead of opening its own
SETTLE_ATTEMPTS = 3
SETTLE_PAUSE_SECONDS = 0.5
CLOSE_SECONDS = 3.0

# KEYS: the hash, the sorted set, the mark of a reservation that was given up. A limit of -1
# does not limit. Times are microseconds, written with %.0f because a Lua number as a string
# keeps 14 digits.
_COMMON = """
local levels, running, given_up = KEYS[1], KEYS[2], KEYS[3]
local id, rpm, tpm = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local kept = redis.call('HMGET', levels, 'requests', 'tokens', 'at')
local passed = math.max(0, now - (tonumber(kept[3]) or now))
local function level(value, limit)
  if limit < 0 then return -1 end
  return math.min(limit, (tonumber(value) or limit) + passed * limit / 60000000)
end
local requests, tokens = level(kept[1], rpm), level(kept[2], tpm)
local function keep()
  redis.call('HSET', levels, 'requests', string.format('%.17g', requests),
    'tokens', string.format('%.17g', tokens), 'at', string.format('%.0f', now))
  local full = 60000
  if rpm > 0 then full = math.max(full, (rpm - requests) * 60000 / rpm) end
  if tpm > 0 then full = math.max(full, (tpm - tokens) * 60000 / tpm) end
  redis.call('PEXPIRE', levels, string.format('%.0f', full + 60000))
end
"""

# ARGV: id, requests and tokens a minute, at a time, tokens wanted, lease in milliseconds.
# Gives what is short and the milliseconds until it is not, or '' and 0. Again with the same id
# it takes nothing more: the client may have lost the first reply. Nor does it where the client
# gave up meanwhile, on another connection that was quicker.
RESERVE = (
    _COMMON
    + """
local most, wanted, lease = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
redis.call('ZREMRANGEBYSCORE', running, '-inf', string.format('%.0f', now))
if redis.call('EXISTS', given_up) == 1 then return {'', 0} end
if redis.call('ZSCORE', running, id) then return {'', 0} end
if most > 0 and redis.call('ZCARD', running) >= most then return {'concurrent', 0} end
if rpm > 0 and requests < 1 then
  return {'requests', math.ceil((1 - requests) * 60000 / rpm)}
end
if tpm > 0 and tokens < wanted then
  return {'tokens', math.ceil((wanted - tokens) * 60000 / tpm)}
end
if rpm > 0 then requests = requests - 1 end
if tpm > 0 then tokens = tokens - wanted end
keep()
redis.call('ZADD', running, string.format('%.0f', now + lease * 1000), id)
redis.call('PEXPIRE', running, string.format('%.0f', lease * 2))
return {'', 0}
"""
)

# ARGV: id, requests and tokens a minute, tokens to give back (below 0: to take too).
SETTLE = (
    _COMMON
    + """
if redis.call('ZREM', running, id) == 0 then
  redis.call('SET', given_up, '1', 'PX', '60000')
  return 0
end
if tpm > 0 then
  tokens = math.min(tpm, tokens + tonumber(ARGV[4]))
  keep()
end
return 1
"""
)

# KEYS: the sorted set. ARGV: lease in milliseconds, ids. Only those that are there still.
RENEW = """
local clock = redis.call('TIME')
local till = tonumber(clock[1]) * 1000000 + tonumber(clock[2]) + tonumber(ARGV[1]) * 1000
for index = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', till), ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[1]) * 2))
return 1
"""


class RedisQuotas:
    """Quotas over the Redis at ``url``. Raises QuotaError for an address that is none."""

    def __init__(self, url: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.exceptions import RedisError
        except ModuleNotFoundError as error:
            raise QuotaError("limits in Redis need a client; run `pip install redis`") from error
        try:
            # One retry: a connection of the pool may have been closed by a restart of Redis.
            pool: Any = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=REPLY_SECONDS,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=REPLY_SECONDS,
                retry=Retry(NoBackoff(), 1),
                protocol=2,
                decode_responses=True,
            )
        except ValueError as error:  # its message may hold the password
            raise QuotaError(
                "HALLMARK_REDIS_URL is no address of a Redis; write redis://HOST:6379/0, "
                "rediss://USER:PASSWORD@HOST:6379/0 or unix:///PATH"
            ) from error
        self._client: Any = Redis.from_pool(pool)
        self._outages = (RedisError, OSError, TimeoutError)
        self._lease_ms = round(lease_seconds * 1000)
        self._renew_seconds = min(RENEW_SECONDS, lease_seconds / 3)
        self._reserve = self._client.register_script(RESERVE)
        self._settle = self._client.register_script(SETTLE)
        self._renew = self._client.register_script(RENEW)
        self._running: dict[str, Reservation] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._renewer: asyncio.Task[None] | None = None
        self._answers = True

    async def reserve(self, key: ApiKey, tokens: int | None) -> Reservation | None:
        if not key.limited:
            return None
        reservation = Reservation(key, tokens_to_reserve(key, tokens))
        try:
            what, wait_ms = await self._take(reservation)
            _end_if_cancelled()
        except self._outages as error:
            self._note(error)
            self.settle(reservation, 0)  # it may have been taken before the reply was lost
            raise uncounted("Redis does not answer") from error
        except asyncio.CancelledError:
            self.settle(reservation, 0)
            raise
        if what:
            wait = CONCURRENT_RETRY_SECONDS if what == "concurrent" else wait_ms / 1000
            raise over_quota(key, what, wait)
        self._running[reservation.id] = reservation
        if self._renewer is None:
            self._renewer = asyncio.create_task(self._keep_leases(), name="quota leases")
        return reservation

    def settle(self, reservation: Reservation, used_tokens: int | None) -> None:
        self._running.pop(reservation.id, None)
        task = asyncio.create_task(self._settle_soon(reservation, used_tokens))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def close(self) -> None:
        if self._renewer is not None:
            self._renewer.cancel()
        if self._settling:
            await asyncio.wait(self._settling, timeout=CLOSE_SECONDS)
        await self._client.aclose()

    async def _take(self, reservation: Reservation) -> tuple[str, int]:
        """What is short, "" for nothing, and the milliseconds until it is not."""
        limits = _limits(reservation.key)
        arguments: list[str | int] = [
            reservation.id, *limits, reservation.tokens, self._lease_ms,
        ]  # fmt: skip
        what, wait_ms = await self._ask(self._reserve(keys=_names(reservation), args=arguments))
        return what, int(wait_ms)

    async def _ask(self, call: Awaitable[Any]) -> Any:
        reply = await call
        if not self._answers:
            log.warning("Redis answers again; limits of keys are counted")
            self._answers = True
        return reply

    def _note(self, error: Exception) -> None:
        if self._answers:
            log.error("Redis does not answer (%s): keys with limits get 503", type(error).__name__)
            self._answers = False

    async def _settle_soon(self, reservation: Reservation, used_tokens: int | None) -> None:
        """A slot that cannot be given back ends with its lease; its tokens stay charged."""
        key = reservation.key
        back = 0 if used_tokens is None else reservation.tokens - used_tokens
        arguments: list[str | int] = [reservation.id, *_limits(key)[:2], back]
        for attempt in range(SETTLE_ATTEMPTS):
            if attempt:
                await asyncio.sleep(SETTLE_PAUSE_SECONDS)
            try:
                await self._ask(self._settle(keys=_names(reservation), args=arguments))
                return
            except self._outages as error:
                self._note(error)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            by_key: dict[str, list[Reservation]] = {}
            for reservation in self._running.values():
                by_key.setdefault(reservation.key.key_id, []).append(reservation)
            for reservations in by_key.values():
                arguments: list[str | int] = [self._lease_ms, *(one.id for one in reservations)]
                name = _names(reservations[0])[1]
                with contextlib.suppress(*self._outages):
                    await self._renew(keys=[name], args=arguments)


def _end_if_cancelled() -> None:
    """Python 3.11's ``wait_for``, which the client writes with, loses a cancellation that comes
    in the moment it ends: https://github.com/python/cpython/issues/86296."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _names(reservation: Reservation) -> Sequence[str]:
    """KEYS of the scripts; the braces keep them on one node of a Redis Cluster."""
    name = f"hallmark:quota:{{{reservation.key.key_id}}}"
    return (name, f"{name}:running", f"{name}:given-up:{reservation.id}")


def _limits(key: ApiKey) -> tuple[int, int, int]:
    limits = (key.requests_per_minute, key.tokens_per_minute, key.max_concurrent)
    first, second, third = (-1 if limit is None else limit for limit in limits)
    return first, second, third
