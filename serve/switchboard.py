"""What several workers hear of the engines, and what their parent hears of them.

Every worker follows one ``Snapshot`` after the other and reports how many requests it has at
each engine. In this process an engine's ``in_flight`` is the sum of the reports. One that some
worker may still choose, because it has not heard yet that it was replaced, counts as busy too:
a promotion waits for that before it stops anything.
"""

from __future__ import annotations

import asyncio
import multiprocessing.process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serve.engines import Group, Supervisor
from serve.remote import RemoteUpstream
from serve.replicas import Replicas
from serve.upstream import Upstream
from serve.worker import Member, Report, Served, Snapshot


@dataclass(eq=False)
class Hand:
    """The parent's end of one worker."""

    process: multiprocessing.process.BaseProcess
    writer: asyncio.StreamWriter
    report: Report = field(default_factory=lambda: Report(version=-1, in_flight={}))


class Switchboard:
    """``replicas`` are all variants'; ``rows`` describes them for /admin/variants."""

    def __init__(
        self, replicas: Mapping[str, Replicas], rows: Callable[[], list[dict[str, Any]]]
    ) -> None:
        self._replicas = replicas
        self._rows = rows
        self._version = 0
        self._hands: list[Hand] = []
        self._known: dict[str, Upstream] = {}
        self._dropped: dict[str, int] = {}

    def attach(self, hand: Hand) -> None:
        """Tell a new worker what there is, and from now on every change."""
        self._hands.append(hand)
        _tell(hand, self.snapshot())

    def detach(self, hand: Hand) -> None:
        """A worker ended, and so did all that it asked for."""
        self._hands.remove(hand)
        self._count()

    def heard(self, hand: Hand, report: Report) -> None:
        hand.report = report
        self._count()

    def publish(self) -> None:
        """Tell all workers what there is now. Call it with no await behind the change."""
        self._version += 1
        snapshot = self.snapshot()
        current = {member.key for one in snapshot.variants.values() for member in one.members}
        for key in self._known:
            if key in current:
                self._dropped.pop(key, None)
            else:
                self._dropped.setdefault(key, self._version)
        for hand in self._hands:
            _tell(hand, snapshot)
        self._count()

    def snapshot(self) -> Snapshot:
        variants = {}
        for name, replicas in self._replicas.items():
            members = []
            for upstream in replicas.members:
                member = _member(upstream)
                self._known[member.key] = upstream
                members.append(member)
            variants[name] = Served(checkpoint=replicas.checkpoint, members=tuple(members))
        return Snapshot(version=self._version, variants=variants, rows=tuple(self._rows()))

    def _count(self) -> None:
        oldest = min((hand.report.version for hand in self._hands), default=self._version)
        for key, upstream in list(self._known.items()):
            busy = sum(hand.report.in_flight.get(key, 0) for hand in self._hands)
            dropped = self._dropped.get(key)
            unheard = dropped is not None and oldest < dropped
            upstream.in_flight = busy + unheard
            if dropped is not None and not upstream.in_flight:
                del self._known[key], self._dropped[key]


class SharedSupervisor(Supervisor):
    """A supervisor whose engines are asked by other processes, through its ``board``."""

    board: Switchboard | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.board = Switchboard(self.replicas, self.describe)

    def _changed(self, upstream: Upstream, fresh: bool) -> None:
        super()._changed(upstream, fresh)
        if self.board is not None:
            self.board.publish()

    def _flip(self, group: Group) -> None:
        super()._flip(group)
        if self.board is not None:  # not yet while the first engines are made
            self.board.publish()


def _member(upstream: Upstream) -> Member:
    remote = isinstance(upstream, RemoteUpstream)
    place = upstream.address if isinstance(upstream, RemoteUpstream) else str(upstream.socket)
    return Member(
        key=f"{upstream.name} {upstream.checkpoint} {place}",
        socket=None if remote else place,
        address=place if remote else None,
        model=upstream.model,
        state=upstream.state,
        reason=upstream.reason,
    )


def _tell(hand: Hand, snapshot: Snapshot) -> None:
    if not hand.writer.is_closing():
        hand.writer.write(snapshot.model_dump_json().encode() + b"\n")
