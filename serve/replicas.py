"""Which engine answers: a slot of one of a variant's replicas, and what became of it.

The hot path knows only this much of engines:

    lease = await fleet.lease(variant, unit, pinned=False)  # a slot; or ApiError 429, 503
    ...                                # ask lease.upstream, as lease.upstream.model
    if nothing_was_sent and lease.move_on(failure):
        ...                            # ask lease.upstream again: it is another replica
    lease.heard()                      # its answer has begun
    lease.close("answered")            # exactly once counts; later calls do nothing

``lease`` takes a free slot before anything is awaited, so the number in flight is exact,
and waits only where all slots are taken. ``lease.crossed_from`` names the variant that
should have answered where the plan let another one do it: record such an answer outside the
experiment. It does not know how engines are started.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from serve.breaker import Breaker
from serve.engine_client import UpstreamFailure
from serve.errors import ApiError
from serve.upstream import State, Upstream

# answered: the engine did as it should, be it with a refusal. failed: it did not. unknown: the
# client left before that was clear.
Outcome = Literal["answered", "failed", "unknown"]

LOAD_BOUND = 1.25  # of the mean load, before a unit leaves its own replica
MAX_MOVES = 2
OVERLOAD_RETRY_SECONDS = 1
RESTART_RETRY_SECONDS = 5
# A failed answer of these kinds, nothing of it sent yet, may be asked of another replica. Not
# after a timeout: the client has waited long enough, and the engine may still be at work.
MAY_MOVE = frozenset({"connect", "status", "stream", "abort"})
_BEST_FIRST: tuple[State, ...] = ("up", "starting", "down", "draining", "failed")


@dataclass
class _Waiter:
    unit: str | None
    slot: asyncio.Future[Upstream]


@dataclass
class Replicas:
    """One variant's live engines. ``flip`` replaces them all at once.

    Where a unit is known its requests go to the replica that ranks first for it (rendezvous
    hashing, Thaler and Ravishankar 1998), whose prefix cache knows the conversation, unless
    that holds more than ``LOAD_BOUND`` times the mean load (Mirrokni, Thorup and Zadimoghaddam
    2018, Consistent Hashing with Bounded Loads, arXiv:1608.01350). Otherwise to the least
    loaded.
    """

    name: str
    checkpoint: str
    max_queued: int = 0
    """Requests that may wait for a slot; one more gets 429 at once."""
    queue_seconds: float = 1.0
    """How long one may wait before it gets 429."""
    clock: Callable[[], float] = time.monotonic
    members: tuple[Upstream, ...] = ()
    _breakers: dict[Upstream, Breaker] = field(default_factory=dict)
    _waiting: deque[_Waiter] = field(default_factory=deque)
    _turn: int = 0

    def __post_init__(self) -> None:
        self._breakers = {member: self.breaker(member) for member in self.members}

    @property
    def state(self) -> State:
        """That of the replica that is best off: one that is up is enough to answer."""
        states = {member.state for member in self.members}
        return next((state for state in _BEST_FIRST if state in states), "failed")

    @property
    def reason(self) -> str:
        return next((member.reason for member in self.members if member.reason), "")

    @property
    def in_flight(self) -> int:
        return sum(member.in_flight for member in self.members)

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def open_breakers(self) -> int:
        return sum(self.breaker(member).state != "closed" for member in self.members)

    def breaker(self, member: Upstream) -> Breaker:
        if member not in self._breakers:
            self._breakers[member] = Breaker(self.clock)
        return self._breakers[member]

    def flip(self, members: Iterable[Upstream], checkpoint: str) -> tuple[Upstream, ...]:
        """New requests go to ``members`` from now on. Gives those that were asked before."""
        old, self.members, self.checkpoint = self.members, tuple(members), checkpoint
        self._breakers = {member: self.breaker(member) for member in self.members}
        self.changed()
        return old

    def started(self, member: Upstream) -> None:
        """A fresh process has given its token: what the old one did counts no more."""
        self.breaker(member).succeeded()
        self.changed()

    def changed(self) -> None:
        """A replica's state changed: those who wait get a slot, or hear that there is none."""
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.slot.done():  # its client left
                self._waiting.popleft()
                continue
            try:
                chosen = self._choose(waiter.unit)
            except ApiError as error:
                waiter.slot.set_exception(error)
            else:
                if chosen is None:
                    return
                waiter.slot.set_result(chosen)
            self._waiting.popleft()

    async def take(self, unit: str | None) -> Upstream:
        """A replica with a slot taken. Raises ApiError 429 overloaded, 503 none is up."""
        chosen = None if self._waiting else self._choose(unit)
        if chosen is not None:
            return chosen
        if self.state != "up":
            raise self._not_ready()
        if len(self._waiting) >= self.max_queued:
            raise self._overloaded()
        waiter = _Waiter(unit, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self.queue_seconds):
                return await waiter.slot
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.slot.done() and not waiter.slot.cancelled() and not waiter.slot.exception():
                self.give_back(waiter.slot.result(), "unknown")  # it came too late for us
            if isinstance(error, TimeoutError):
                raise self._overloaded() from error
            raise

    def take_another(self, unit: str | None, tried: Collection[Upstream]) -> Upstream | None:
        """A slot of a replica that was not tried; None where there is none free now."""
        try:
            return self._choose(unit, tried)
        except ApiError:
            return None

    def heard(self, member: Upstream) -> None:
        """The engine has begun to answer: a trial need not last as long as its stream."""
        breaker = self._breakers.get(member)
        if breaker is not None and breaker.state != "closed":
            breaker.succeeded()
            self.changed()

    def give_back(self, member: Upstream, outcome: Outcome, *, gone: bool = False) -> None:
        """The slot is free again. ``gone``: the engine was not there at all."""
        member.in_flight -= 1
        breaker = self._breakers.get(member)  # None: of engines that were replaced since
        if breaker is not None:
            if outcome == "answered":
                breaker.succeeded()
            elif outcome == "failed":
                breaker.failed(gone=gone)
            else:
                breaker.unknown()
        self.changed()

    def _choose(self, unit: str | None, tried: Collection[Upstream] = ()) -> Upstream | None:
        """A replica with a slot taken, None where all are full. Raises ApiError 503."""
        able = [
            member
            for member in self.members
            if member.state == "up" and member not in tried and self.breaker(member).passes
        ]
        if not able:
            raise self._not_ready()
        free = [member for member in able if member.in_flight < member.max_in_flight]
        if not free:
            return None
        chosen = self._of(free, unit) if len(free) > 1 else free[0]
        chosen.in_flight += 1
        self.breaker(chosen).enter()
        return chosen

    def _of(self, free: list[Upstream], unit: str | None) -> Upstream:
        if unit is not None:
            bound = math.ceil(LOAD_BOUND * (self.in_flight + 1) / len(self.members))
            for member in sorted(free, key=lambda one: rank(unit, self.members.index(one))):
                if member.in_flight < bound:
                    return member
        self._turn += 1
        turn = self._turn % len(free)
        return min(free[turn:] + free[:turn], key=lambda member: member.in_flight)

    def _not_ready(self) -> ApiError:
        state = self.state
        waits = [
            self.breaker(member).wait_seconds for member in self.members if member.state == "up"
        ]
        what = "its engine failed just now and is left alone for a moment" if waits else state
        return ApiError(
            503,
            f"variant {self.name} is not ready ({what}); try again soon",
            "not_ready",
            reason="not_ready",
            retry_after_seconds=max(1, math.ceil(min(waits))) if waits else RESTART_RETRY_SECONDS,
        )

    def _overloaded(self) -> ApiError:
        return ApiError(
            429,
            f"variant {self.name} answers {self.in_flight} requests already and {self.queued} "
            "wait, which is its limit; try again in a moment",
            "overloaded",
            reason="overloaded",
            retry_after_seconds=OVERLOAD_RETRY_SECONDS,
        )


def rank(unit: str, index: int) -> bytes:
    """Where a replica stands for a unit: the smallest comes first."""
    return hashlib.blake2b(
        f"{index}:{unit}".encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()


@dataclass
class Lease:
    """One request's slot. ``crossed_from`` is None unless another variant was meant."""

    upstream: Upstream
    crossed_from: str | None
    _replicas: Replicas
    _unit: str | None
    _tried: list[Upstream] = field(default_factory=list)
    _open: bool = True

    @property
    def num_moves(self) -> int:
        return len(self._tried)

    def move_on(self, failure: UpstreamFailure) -> bool:
        """Whether ``upstream`` is another replica of the same variant now, to be asked instead.

        Only before the first byte was sent, ``MAX_MOVES`` times at most.
        """
        if failure.reason not in MAY_MOVE or self.num_moves >= MAX_MOVES or not self._open:
            return False
        another = self._replicas.take_another(self._unit, [*self._tried, self.upstream])
        if another is None:
            return False
        self._replicas.give_back(self.upstream, "failed", gone=failure.reason == "connect")
        self._tried.append(self.upstream)
        self.upstream = another
        return True

    def heard(self) -> None:
        """The engine's answer has begun, and it is none of its failures."""
        self._replicas.heard(self.upstream)

    def close(self, outcome: Outcome, *, gone: bool = False) -> None:
        """Give the slot back, once. ``gone``: the engine was not there (reason "connect")."""
        if self._open:
            self._open = False
            self._replicas.give_back(self.upstream, outcome, gone=gone)


class Checkpoints(Mapping[str, str]):
    """The weights digest that each variant answers with now: a promotion changes it."""

    def __init__(self, replicas: Mapping[str, Replicas]) -> None:
        self._replicas = replicas

    def __getitem__(self, variant: str) -> str:
        return self._replicas[variant].checkpoint

    def __iter__(self) -> Iterator[str]:
        return iter(self._replicas)

    def __len__(self) -> int:
        return len(self._replicas)


class Fleet:
    """All variants' replicas, and the plan's word on crossing from one to another."""

    def __init__(self, replicas: Mapping[str, Replicas], cross_to: str | None = None) -> None:
        """``cross_to`` answers for variants that are not up; None lets nobody cross."""
        self.replicas = dict(replicas)
        self.checkpoints: Mapping[str, str] = Checkpoints(self.replicas)
        self._cross_to = cross_to

    async def lease(self, variant: str, unit: str | None, *, pinned: bool) -> Lease:
        """A slot of the variant. Raises ApiError 429 where it is overloaded, 503 where no
        replica is up and the plan lets nobody else answer; a pinned request never crosses."""
        replicas = self.replicas[variant]
        try:
            return Lease(await replicas.take(unit), None, replicas, unit)
        except ApiError as error:
            other = self.replicas.get(self._cross_to or "")
            if error.status != 503 or pinned or other is None or other is replicas:
                raise
            return Lease(await other.take(unit), variant, other, unit)
