"""What the gateway asks of its engines, and the engines that somebody else runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serve.replicas import Fleet, Replicas
from serve.upstream import Upstream, describe


class Engines(Protocol):
    """All variants' engines of one gateway."""

    @property
    def upstreams(self) -> Mapping[str, Upstream]: ...

    @property
    def fleet(self) -> Fleet:
        """Where the hot path gets its slots."""
        ...

    async def start(self) -> None:
        """Begin; engines may come up later, as their ``state`` says."""
        ...

    async def stop(self) -> None:
        """End what ``start`` began; nothing of it is left running."""
        ...

    def describe(self) -> list[dict[str, Any]]:
        """One row per variant for people who operate it."""
        ...


class StandingEngines:
    """One engine per variant, run by somebody else: the fake in tests, the mock in benchmarks."""

    def __init__(
        self, upstreams: Sequence[Upstream], *, cross_to: str | None = None, max_queued: int = 0
    ) -> None:
        self.upstreams: Mapping[str, Upstream] = {one.name: one for one in upstreams}
        self.fleet = Fleet(
            {
                one.name: Replicas(one.name, one.checkpoint, max_queued=max_queued, members=(one,))
                for one in upstreams
            },
            cross_to,
        )

    async def start(self) -> None:
        for upstream in self.upstreams.values():
            upstream.state = "up"

    async def stop(self) -> None:
        for upstream in self.upstreams.values():
            upstream.state = "draining"
            upstream.close()

    def describe(self) -> list[dict[str, Any]]:
        return [describe(upstream) for upstream in self.upstreams.values()]
