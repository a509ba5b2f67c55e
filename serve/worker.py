"""One of several worker processes: it answers requests with engines that its parent keeps.

The parent (``serve.crew``) says over a socket which engines there are and in which state, one
``Snapshot`` per line and change; the worker says how many requests it has at each, one
``Report`` per line and change, so that no engine is stopped while a worker still asks it. The
socket's end is the worker's end too: none outlives its parent.

Assignment is by hash and needs no sharing. Every worker writes its series into files of one
folder, and each of them shows the sum of all at /metrics. Each has its share of the engines'
slots and queues.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from pydantic import Field

from monitoring.series import Series
from registry.records import Record
from serve.remote import RemoteUpstream
from serve.replicas import Fleet, Replicas
from serve.settings import ServeSettings
from serve.upstream import State, Upstream, new_upstream

log = logging.getLogger("hallmark.worker")

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's own name for it
REPORT_SECONDS = 0.05
MAX_LINE_BYTES = 2**22


class Member(Record):
    """One engine of a variant. ``key`` names it for as long as it answers for the variant."""

    key: str
    socket: str | None = None
    address: str | None = None
    model: str | None = None
    state: State
    reason: str = ""


class Served(Record):
    checkpoint: str
    members: tuple[Member, ...]


class Snapshot(Record):
    """What the parent says: all variants' engines as they are now."""

    version: int = Field(ge=0)
    variants: dict[str, Served]
    rows: tuple[dict[str, Any], ...] = ()
    """For /admin/variants, as the parent's own supervisor describes them."""


class Report(Record):
    """What a worker says: the newest snapshot that it follows, and its requests by engine."""

    version: int
    in_flight: dict[str, int]


def share(total: int, workers: int, index: int) -> int:
    """The part of ``total`` slots that worker ``index`` has; all parts add up to ``total``."""
    return total // workers + (index < total % workers)


class FollowedEngines:
    """Engines that the parent process keeps, as this worker's hot path sees them."""

    def __init__(
        self,
        settings: ServeSettings,
        index: int,
        channel: socket.socket,
        first: Snapshot,
        series: Series,
    ) -> None:
        self._settings = settings
        self._series = series
        self._index = index
        self._channel = channel
        self._members: dict[str, Upstream] = {}
        self._leaving: list[Upstream] = []
        self._version = -1
        self._rows: tuple[dict[str, Any], ...] = ()
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.StreamWriter | None = None
        self._said: Report | None = None
        self.parted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the parent is gone."""
        num_queued = share(settings.max_queued, settings.workers, index)
        self.fleet = Fleet(
            {
                name: Replicas(
                    name,
                    served.checkpoint,
                    max_queued=num_queued,
                    queue_seconds=settings.queue_seconds,
                )
                for name, served in first.variants.items()
            },
            settings.plan.cross_to,
        )
        self.follow(first)

    @property
    def upstreams(self) -> dict[str, Upstream]:
        """The replica of each variant that is best off."""
        return {
            name: max(one.members, key=lambda member: member.state == "up")
            for name, one in self.fleet.replicas.items()
        }

    def follow(self, snapshot: Snapshot) -> None:
        """From here on the snapshot's engines answer; there is no await in it."""
        for name, served in snapshot.variants.items():
            replicas = self.fleet.replicas[name]
            members, fresh = [], []
            for member in served.members:
                upstream = self._upstream(name, served.checkpoint, member)
                if member.state == "up" and upstream.state != "up":
                    fresh.append(upstream)
                upstream.state, upstream.reason = member.state, member.reason
                upstream.model = member.model
                members.append(upstream)
            if tuple(members) != replicas.members:
                self._show(name, before=replicas.checkpoint, now=served.checkpoint)
                old = replicas.flip(members, served.checkpoint)
                self._leaving += [one for one in old if one not in members]
            for upstream in fresh:
                replicas.started(upstream)
            replicas.changed()
        self._version, self._rows = snapshot.version, snapshot.rows

    def _show(self, variant: str, *, before: str, now: str) -> None:
        info, experiment = self._series.variant_info, self._settings.plan.experiment or ""
        info.labels(variant=variant, checkpoint=before, experiment=experiment).set(0)
        info.labels(variant=variant, checkpoint=now, experiment=experiment).set(1)

    def report(self) -> Report:
        busy = {key: one.in_flight for key, one in self._members.items() if one.in_flight}
        return Report(version=self._version, in_flight=busy)

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(
            sock=self._channel, limit=MAX_LINE_BYTES
        )
        self._tasks = [
            asyncio.create_task(self._listen(reader), name="parent"),
            asyncio.create_task(self._speak(), name="report"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for upstream in self._members.values():
            upstream.state = "draining"
            upstream.close()
        if self._writer is not None:
            self._writer.close()

    def describe(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self._rows]

    def _upstream(self, variant: str, checkpoint: str, member: Member) -> Upstream:
        made = self._members.get(member.key)
        if made is None:
            settings = self._settings
            if member.address is not None:
                made = RemoteUpstream.at(member.address, settings, variant, checkpoint)
            else:
                made = new_upstream(settings, variant, checkpoint, Path(member.socket or ""))
            made.max_in_flight = share(settings.max_in_flight, settings.workers, self._index)
            self._members[member.key] = made
        return made

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self.follow(Snapshot.model_validate_json(line))
                self._say()
        if not self.parted.done():
            self.parted.set_result(None)

    async def _speak(self) -> None:
        while True:
            self._say()
            for name, replicas in self.fleet.replicas.items():
                self._series.queued.labels(variant=name).set(replicas.queued)
                self._series.open_breakers.labels(variant=name).set(replicas.open_breakers)
            for upstream in [one for one in self._leaving if not one.in_flight]:
                self._leaving.remove(upstream)
                self._members = {k: one for k, one in self._members.items() if one is not upstream}
                upstream.close()
            await asyncio.sleep(REPORT_SECONDS)

    def _say(self) -> None:
        report = self.report()
        if report != self._said and self._writer is not None and not self._writer.is_closing():
            self._said = report
            self._writer.write(report.model_dump_json().encode() + b"\n")


def share_metrics(folder: Path) -> None:
    """Write this process's series, all that are made from now on, into files in ``folder``."""
    os.environ[METRICS_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # else at import


def shared_series(folder: Path) -> Series:
    """This process's series; its ``registry`` shows the sum over all processes."""
    share_metrics(folder)
    series = Series(CollectorRegistry())
    series.registry = CollectorRegistry()
    series.registry.register(_Sum(folder))
    return series


class _Sum(Collector):
    """All processes' series. Of checkpoints that do not answer any more, files say 0 for ever."""

    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for family in self._files.collect():  # type: ignore[no-untyped-call]
            if family.name == "hallmark_variant_info":
                family.samples = [sample for sample in family.samples if sample.value]
            yield family


def first_line(channel: socket.socket) -> bytes:
    """The first line, read byte by byte so that nothing of the second is lost."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = channel.recv(1)
        if not byte or len(line) > MAX_LINE_BYTES:
            raise SystemExit("the parent process is gone")
        line += byte
    return bytes(line)


def work(
    settings: ServeSettings,
    index: int,
    listener: socket.socket,
    channel: socket.socket,
    metrics: Path,
) -> None:
    """A worker's whole life. It ends by SIGTERM, when running answers have finished."""
    import uvloop

    from registry.ledger import Ledger

    # Ctrl-C reaches the whole group; the parent says what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s worker {index} %(levelname)s %(message)s",
    )
    sys.setswitchinterval(0.0005)
    series = shared_series(metrics)
    first = Snapshot.model_validate_json(first_line(channel))
    channel.setblocking(False)
    with contextlib.closing(Ledger(settings.house.ledger_url)) as ledger:
        uvloop.run(_answer(settings, index, [listener], channel, first, ledger, series))


async def _answer(
    settings: ServeSettings,
    index: int,
    listeners: Iterable[socket.socket],
    channel: socket.socket,
    first: Snapshot,
    ledger: Any,
    series: Series,
) -> None:
    from serve.app import create_app
    from serve.server import Server, server_config

    engines = FollowedEngines(settings, index, channel, first, series)
    app = create_app(settings, engines, ledger, series)
    server = Server(server_config(settings, app))

    def stop() -> None:
        app.drain()
        if server.should_exit:
            server.force_exit = True
        server.should_exit = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    engines.parted.add_done_callback(lambda _: stop())
    await server.serve(sockets=list(listeners))
