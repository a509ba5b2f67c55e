"""Several worker processes on one port, and the engines that they share.

    crew = Crew(settings, engines, board, metrics_folder)
    await crew.serve([listener])        # until ``should_exit``, as uvicorn's server

This process answers no requests: it keeps the engines, tells every worker of them, and starts
a worker that ended again. All take connections from one listening socket, so that none is lost
with a worker that dies before it took it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from registry.records import UserError
from serve.settings import ServeSettings
from serve.standing import Engines
from serve.switchboard import Hand, Switchboard
from serve.worker import MAX_LINE_BYTES, Report, work

log = logging.getLogger("hallmark.crew")

ROWS_SECONDS = 1.0
WATCH_SECONDS = 0.1
QUICK_SECONDS = 10.0  # a worker that ends sooner has not really started
MAX_QUICK_ENDS = 5
MAX_BACKOFF_SECONDS = 10.0
LAST_SECONDS = 5.0  # after the grace period, before SIGKILL


class CrewError(UserError):
    """The workers do not stay alive, or there is too little for all of them."""


class Crew:
    """The workers of one server; ``should_exit`` ends them, ``force_exit`` at once."""

    def __init__(
        self, settings: ServeSettings, engines: Engines, board: Switchboard, metrics: Path
    ) -> None:
        """Raises CrewError where a worker would have no slot of an engine."""
        if settings.max_in_flight < settings.workers:
            raise CrewError(
                f"{settings.workers} workers share {settings.max_in_flight} requests at a time "
                "(max_in_flight); set HALLMARK_MAX_IN_FLIGHT higher, or --workers lower"
            )
        self.should_exit = False
        self.force_exit = False
        self.failure: CrewError | None = None
        self._settings = settings
        self._engines = engines
        self._board = board
        self._metrics = metrics
        self._hands: dict[int, Hand] = {}

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Raises CrewError where a worker ends again and again as soon as it is started."""
        [listener] = sockets
        await self._engines.start()
        keepers = [
            asyncio.create_task(self._keep(index, listener), name=f"worker {index}")
            for index in range(self._settings.workers)
        ]
        told = time.monotonic()
        while not self.should_exit:
            await asyncio.sleep(WATCH_SECONDS)
            if time.monotonic() - told > ROWS_SECONDS:
                self._board.publish()  # for the numbers in /admin/variants
                told = time.monotonic()
        self._end(at_once=False)
        deadline = time.monotonic() + self._settings.grace_seconds + LAST_SECONDS
        while self._hands and time.monotonic() < deadline and not self.force_exit:
            await asyncio.sleep(WATCH_SECONDS)
        if self._hands and self.force_exit:
            self._end(at_once=False)  # the second time: a worker breaks its answers off
            await asyncio.wait(keepers, timeout=LAST_SECONDS)
        self._end(at_once=True)
        await asyncio.gather(*keepers)
        if self.failure is not None:
            raise self.failure

    def _ending(self) -> bool:
        return self.should_exit  # which another task sets while this one waits

    async def _keep(self, index: int, listener: socket.socket) -> None:
        quick = 0
        while not self._ending():
            began = time.monotonic()
            await self._run(index, listener)
            if self._ending():
                return
            lasted = time.monotonic() - began
            quick = quick + 1 if lasted < QUICK_SECONDS else 0
            if quick >= MAX_QUICK_ENDS:
                self.failure = CrewError(
                    f"worker {index} ended {quick} times within {QUICK_SECONDS:g} s of its start; "
                    "the lines above say why"
                )
                self.should_exit = True
                return
            log.error("worker %d ended after %.1f s; it is started again", index, lasted)
            await asyncio.sleep(min(MAX_BACKOFF_SECONDS, 0.1 * 2**quick))

    async def _run(self, index: int, listener: socket.socket) -> None:
        """One process from its start to its end."""
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        process = context.Process(
            target=work,
            args=(self._settings, index, listener, theirs, self._metrics),
            name=f"hallmark worker {index}",
            daemon=True,  # ended where this process ends in any other way than by serve()
        )
        process.start()
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE_BYTES)
        hand = self._hands[index] = Hand(process, writer)
        self._board.attach(hand)
        if self.should_exit:  # it was told to all before this one was there
            process.terminate()
        try:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    self._board.heard(hand, Report.model_validate_json(line))
            while process.exitcode is None:
                await asyncio.sleep(WATCH_SECONDS / 2)
        finally:
            del self._hands[index]
            self._board.detach(hand)
            writer.close()
            if process.pid is not None:
                # prometheus_client gives this function no types
                mark_process_dead(process.pid, path=str(self._metrics))  # type: ignore[no-untyped-call]

    def _end(self, *, at_once: bool) -> None:
        for hand in self._hands.values():
            if at_once:
                hand.process.kill()
            else:
                hand.process.terminate()


@contextlib.contextmanager
def metrics_folder() -> Iterator[Path]:
    """A new folder for the series of all processes, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="hallmark-metrics-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
