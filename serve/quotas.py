"""How much each key may ask for: requests a minute, tokens a minute, requests at a time.

The hot path calls two things::

    reservation = await quotas.reserve(key, tokens_asked(body))    # ApiError 429, 400 or 503
    ...
    quotas.settle(reservation, tokens_to_charge(status, usage))    # exactly once, in `finally`

Requests and tokens are token buckets: each holds a minute's worth and is refilled evenly, so a
key that has paused may use its minute at once. A request takes its ``max_tokens`` from the
bucket before it starts, and the difference to what it used is given back, or taken too, when it
ends: the bucket may fall below nothing, and then the key waits until it is above. Nothing is
taken where anything is short.

``MemoryQuotas`` counts for one process, by a monotonic clock: setting the wall clock changes
nothing. Several processes count in Redis (``serve.quotas_redis``).
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from registry.api_keys import ApiKey
from registry.records import UserError
from serve.errors import ApiError

MINUTE_SECONDS = 60.0
UNSAID_TOKENS = 256  # reserved for an answer whose request sets no max_tokens
CONCURRENT_RETRY_SECONDS = 1.0
OUTAGE_RETRY_SECONDS = 5
ANSWERED = (200, 499)  # an engine worked for these; 499 is a client that went away


class QuotaError(UserError):
    """Limits are asked for that cannot be kept in this arrangement."""


@dataclass(slots=True, frozen=True)
class Reservation:
    """What one request of a limited key has taken."""

    key: ApiKey
    tokens: int
    id: str = field(default_factory=lambda: secrets.token_hex(8))


class Quotas(Protocol):
    """One per gateway process, used by one event loop."""

    async def reserve(self, key: ApiKey, tokens: int | None) -> Reservation | None:
        """Take a slot, a request and ``tokens`` (``tokens_asked``) at once, or nothing.

        None where the key has no limits: there is nothing to settle then. Raises ApiError 429
        with the seconds until it can succeed, 400 where it never can, 503 where the count
        cannot be kept: better no answer than one that nobody counted. Where the caller is
        cancelled in here, nothing stays taken.
        """
        ...

    def settle(self, reservation: Reservation, used_tokens: int | None) -> None:
        """Give the slot back and charge ``used_tokens`` instead of what was reserved.

        None charges what was reserved. Returns at once, so it may stand in ``finally``.
        """
        ...

    async def close(self) -> None:
        """Wait for what ``settle`` still has under way."""
        ...


def tokens_asked(body: Mapping[str, Any]) -> int | None:
    """The most completion tokens that a request asks for; None where it sets no maximum.

    What is no sensible number counts as not set: the engine refuses it in its own words.
    """
    most = None
    for name in ("max_completion_tokens", "max_tokens"):
        if most is None:
            most = _positive(body.get(name))
    if most is None:
        return None
    return most * (_positive(body.get("n")) or 1) * _num_prompts(body.get("prompt"))


def _num_prompts(prompt: object) -> int:
    """A list of texts, or of lists of tokens, is many prompts; a list of numbers is one."""
    if not isinstance(prompt, list) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def tokens_to_charge(status: int | None, usage: tuple[int | None, int | None]) -> int | None:
    """What ``settle`` is told: ``usage`` (prompt, completion) where the engine gave it.

    Without it 0 for a refusal or a failure, and None, the reservation as it stands, for an
    answer that began: who hangs up early pays what was reserved.
    """
    prompt, completion = usage
    if prompt is not None or completion is not None:
        return (prompt or 0) + (completion or 0)
    return None if status is None or status in ANSWERED else 0


def tokens_to_reserve(key: ApiKey, asked: int | None) -> int:
    """Raises ApiError 400 where the key could never have so many."""
    limit = key.tokens_per_minute
    if limit is None:
        return 0
    if asked is None:
        return min(UNSAID_TOKENS, limit)
    if asked > limit:
        raise ApiError(
            400,
            f"the request asks for up to {min(asked, 10**9)} tokens, and its key has {limit} "
            "a minute; ask for fewer with max_tokens",
            "max_tokens_exceed_quota",
            "max_tokens",
            reason="rate_limited",
        )
    return asked


def over_quota(key: ApiKey, what: str, wait_seconds: float) -> ApiError:
    """``what`` is short: concurrent, requests or tokens."""
    limits = {
        "concurrent": f"{key.max_concurrent} requests at a time",
        "requests": f"{key.requests_per_minute} requests a minute",
        "tokens": f"{key.tokens_per_minute} tokens a minute",
    }
    seconds = max(1, math.ceil(wait_seconds))
    return ApiError(
        429,
        f"this key may ask for {limits[what]}, and has; try again in {seconds} s",
        "rate_limit_exceeded",
        reason="rate_limited",
        retry_after_seconds=seconds,
    )


def uncounted(why: str) -> ApiError:
    """The 503 of a request whose key has limits that cannot be counted now."""
    return ApiError(
        503,
        f"this key's limits cannot be counted now ({why}); try again in a few seconds",
        "quota_unavailable",
        reason="not_ready",
        retry_after_seconds=OUTAGE_RETRY_SECONDS,
    )


@dataclass(slots=True)
class Bucket:
    """``level`` of ``limit`` is there at the time ``at``; below 0 is owed."""

    limit: int
    level: float
    at: float

    def refill(self, now: float) -> None:
        gained = max(0.0, now - self.at) * self.limit / MINUTE_SECONDS
        self.level = min(float(self.limit), self.level + gained)
        self.at = now

    def wait(self, amount: int) -> float:
        """Seconds until ``amount`` is there; 0 where it is."""
        return max(0.0, (amount - self.level) * MINUTE_SECONDS / self.limit)

    def take(self, amount: int) -> None:
        self.level = min(float(self.limit), self.level - amount)


@dataclass(slots=True)
class _Account:
    """One key's state."""

    requests: Bucket | None
    tokens: Bucket | None
    running: set[str] = field(default_factory=set)


class MemoryQuotas:
    """Quotas of one process. No await between a check and its count: both are exact."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def reserve(self, key: ApiKey, tokens: int | None) -> Reservation | None:
        if not key.limited:
            return None
        amount = tokens_to_reserve(key, tokens)
        account = self._account(key)
        if key.max_concurrent is not None and len(account.running) >= key.max_concurrent:
            raise over_quota(key, "concurrent", CONCURRENT_RETRY_SECONDS)
        wanted = (("requests", account.requests, 1), ("tokens", account.tokens, amount))
        for what, bucket, needed in wanted:
            if bucket is not None and (wait := bucket.wait(needed)) > 0:
                raise over_quota(key, what, wait)
        for _, bucket, needed in wanted:
            if bucket is not None:
                bucket.take(needed)
        reservation = Reservation(key, amount)
        account.running.add(reservation.id)
        return reservation

    def settle(self, reservation: Reservation, used_tokens: int | None) -> None:
        account = self._account(reservation.key)
        account.running.remove(reservation.id)
        if account.tokens is not None and used_tokens is not None:
            account.tokens.take(used_tokens - reservation.tokens)

    async def close(self) -> None:
        pass

    def _account(self, key: ApiKey) -> _Account:
        """The key's state, refilled to this moment."""
        now = self._clock()
        account = self._accounts.get(key.key_id)
        if account is None:
            account = self._accounts[key.key_id] = _Account(
                _full(key.requests_per_minute, now), _full(key.tokens_per_minute, now)
            )
        for bucket in (account.requests, account.tokens):
            if bucket is not None:
                bucket.refill(now)
        return account


def _full(limit: int | None, now: float) -> Bucket | None:
    return None if limit is None else Bucket(limit, float(limit), now)


class UncountedQuotas:
    """Of a worker among several without Redis: keys without limits pass, others get 503."""

    async def reserve(self, key: ApiKey, tokens: int | None) -> Reservation | None:
        if not key.limited:
            return None
        raise uncounted("several workers share limits only through Redis: HALLMARK_REDIS_URL")

    def settle(self, reservation: Reservation, used_tokens: int | None) -> None:
        raise AssertionError("nothing was reserved")

    async def close(self) -> None:
        pass


def open_quotas(redis_url: str | None, *, workers: int) -> Quotas:
    """Quotas that count right for so many worker processes. Raises QuotaError."""
    if redis_url is not None:
        from serve.quotas_redis import RedisQuotas

        return RedisQuotas(redis_url)
    return MemoryQuotas() if workers == 1 else UncountedQuotas()


def refuse_unshared(keys: Iterable[ApiKey], *, workers: int, shared: bool) -> None:
    """Raises QuotaError where several workers would each count a key's limits for themselves.

    ``shared`` says whether there is a Redis to count them in.
    """
    limited = [key.name for key in keys if key.limited and key.revoked_at is None]
    if limited and workers > 1 and not shared:
        raise QuotaError(
            f"{workers} workers cannot share the limits of API keys ({', '.join(limited[:3])}) "
            "without Redis: each would grant them anew; set "
            "HALLMARK_REDIS_URL=redis://HOST:6379/0, or --workers 1"
        )
