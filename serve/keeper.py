"""One engine's life: admitted, started, proven by a token, watched, started again, drained.

An engine counts as up once it has given a real token: vLLM's ``/health`` says yes too early,
and while draining. It counts as draining before SIGTERM reaches it, because vLLM then
answers new requests with 200 and no text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.records import UserError
from serve.admission import Admission, AdmissionError, Verified
from serve.engine_client import UpstreamFailure
from serve.engine_process import EngineProcess, launch
from serve.settings import ServeSettings, VariantPlan
from serve.upstream import State, Upstream

log = logging.getLogger("hallmark.engines")

PROBE_PAUSE_SECONDS = 0.25
PROBE_TIMEOUT_SECONDS = 60.0
WATCH_SECONDS = 15.0
MAX_SILENT_PROBES = 2
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
STABLE_SECONDS = 60.0  # up for so long, an engine's earlier crashes count no more
STOP_SECONDS = 8.0
DRAIN_PAUSE_SECONDS = 0.05
TOKENS_DONE = re.compile(rb"^vllm:(?:prompt|generation)_tokens_total\{[^}]*\} (\S+)", re.M)


class EngineError(UserError):
    """An engine did not start; the message ends with what it said last."""


@dataclass(frozen=True)
class Tools:
    """What every keeper of a gateway works with."""

    settings: ServeSettings
    admission: Admission
    environ: Mapping[str, str]
    cpu: bool
    turn: asyncio.Semaphore
    """Held while an engine starts: engines of one GPU start one after the other."""
    changed: Callable[[Upstream, bool], None]
    """Told when an upstream's state changed; True where it is freshly up."""
    restarted: Callable[[str], None]
    """Told which variant's engine is started again."""


@dataclass(frozen=True)
class Seat:
    """A variant on an engine: adapters of one base sit on the same one."""

    plan: VariantPlan
    upstream: Upstream


class Engine(Protocol):
    """What a keeper watches: a process here, or one that runs elsewhere."""

    @property
    def pid(self) -> int: ...

    @property
    def running(self) -> bool: ...

    async def wait(self) -> int: ...

    async def stop(self, timeout_seconds: float) -> None: ...

    def log_tail(self) -> str: ...


class Keeper:
    """Keeps one engine running. ``first`` is done once it is up, or has failed for good."""

    takes_turns = True
    """Whether starting it keeps this machine busy."""

    def __init__(
        self,
        name: str,
        seats: Sequence[Seat],
        tools: Tools,
        *,
        cores: Sequence[int],
        admitted: Mapping[str, Verified],
    ) -> None:
        """``name`` names its log; ``admitted`` is by variant, from just now: good for one start."""
        self.name = name
        self.seats = tuple(seats)
        self.restarts = 0
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first.add_done_callback(_heard)
        self._tools = tools
        self._cores = tuple(cores)
        self._admitted = dict(admitted)
        self._verified: dict[str, Verified] = {}
        self._ending = False
        self._process: Engine | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def log(self) -> Path:
        return self._tools.settings.logs / f"engine-{self.name}.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.running else None

    @property
    def in_flight(self) -> int:
        return sum(seat.upstream.in_flight for seat in self.seats)

    def begin(self) -> None:
        self._task = asyncio.create_task(self._supervise(), name=f"engine {self.name}")

    async def drain(self, grace_seconds: float) -> None:
        """Let running answers finish for so long, then stop. Nothing new may be asked of it."""
        self._ending = True
        self._mark("draining")
        deadline = time.monotonic() + grace_seconds
        while self.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_PAUSE_SECONDS)
        await self.stop()

    async def stop(self) -> None:
        self._ending = True
        self._mark("draining")
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._process is not None:
            await self._process.stop(STOP_SECONDS)
        if not self.first.done():
            self.first.cancel()
        for seat in self.seats:
            seat.upstream.close()
            seat.upstream.socket.unlink(missing_ok=True)

    def _mark(self, state: State, reason: str | None = None) -> None:
        for seat in self.seats:
            if state == "up" and seat.upstream.state == "failed":
                continue  # it was refused, while others on the same engine were not
            fresh = state == "up" and seat.upstream.state != "up"
            seat.upstream.state = state
            seat.upstream.reason = seat.upstream.reason if reason is None else reason
            self._tools.changed(seat.upstream, fresh)

    async def _supervise(self) -> None:
        try:
            await self._keep()
        except Exception as error:  # edge of a supervised task: nobody would hear of it
            log.exception("engine %s is given up: its supervision failed", self.name)
            self._mark("failed", f"its supervision failed ({type(error).__name__}); see the log")
            if self._process is not None:
                await self._process.stop(STOP_SECONDS)
            if not self.first.done():
                self.first.set_exception(EngineError(self.seats[0].upstream.reason))

    async def _keep(self) -> None:
        """Until cancelled, or until the engine is hopeless."""
        failures = crashes = 0
        while True:
            try:
                process = await self._start()
                began, failures = time.monotonic(), 0
                self._mark("up", "")
                if not self.first.done():
                    self.first.set_result(None)
                why = await self._watch(process)
                if self._ending:
                    return  # it was to end anyway
                crashes = 1 if time.monotonic() - began > STABLE_SECONDS else crashes + 1
                self._mark("down", why)
                if process.running:
                    await process.stop(STOP_SECONDS)
            except (UserError, OSError) as error:
                failures += 1
                why = str(error)
                attempts = self._tools.settings.engine.max_start_attempts
                hopeless = isinstance(error, AdmissionError) or not self.first.done()
                if hopeless or failures >= attempts:
                    self._mark("failed", why)
                    log.error("engine %s is given up: %s", self.name, error)
                    if not self.first.done():
                        told = error if isinstance(error, UserError) else EngineError(why)
                        self.first.set_exception(told)
                    return
                self._mark("down", why)
            pause = backoff_seconds(failures + crashes)
            log.error("engine %s is down: %s; restart in %g s", self.name, why, pause)
            await asyncio.sleep(pause)
            self.restarts += 1
            for seat in self.seats:
                self._tools.restarted(seat.plan.name)

    async def _start(self) -> Engine:
        """Admit, start, and wait for the first token. Raises AdmissionError, EngineError."""
        tools = self._tools
        async with tools.turn if self.takes_turns else contextlib.nullcontext():
            self._mark("starting")
            seats = await self._admit()
            began = time.monotonic()
            process = self._process = await self._run(seats)
            try:
                for seat in seats:
                    await self._first_token(seat.upstream, process, began)
                    self._check_loaded(seat.plan)
            except BaseException:
                await process.stop(STOP_SECONDS)
                raise
            log.info("engine %s is up after %.1f s", self.name, time.monotonic() - began)
            return process

    async def _run(self, seats: Sequence[Seat]) -> Engine:
        tools, first = self._tools, seats[0].plan
        socket = seats[0].upstream.socket
        socket.unlink(missing_ok=True)
        adapters = {
            str(seat.upstream.model): seat.plan.checkpoint for seat in seats if seat.plan.base
        }
        what = launch(
            tools.settings, first.base or first.checkpoint, socket, self.log,
            cores=self._cores, environ=tools.environ, cpu=tools.cpu, adapters=adapters,
        )  # fmt: skip
        return await EngineProcess.start(what)

    def _check_loaded(self, plan: VariantPlan) -> None:
        """Raises AdmissionError where what was loaded may not be what was verified."""
        self._verified[plan.name].unswapped(plan.name)

    def _listens(self, upstream: Upstream) -> bool:
        return upstream.socket.exists()

    async def _admit(self) -> list[Seat]:
        """Seats whose checkpoints may answer now. Raises AdmissionError where none may."""
        admitted, refusal = [], None
        for seat in self.seats:
            try:
                await self._admit_one(seat)
                admitted.append(seat)
            except AdmissionError as error:
                refusal = error
                seat.upstream.state, seat.upstream.reason = "failed", str(error)
                self._tools.changed(seat.upstream, False)
        if refusal is not None and not (admitted and self.first.done()):
            raise refusal
        return admitted

    async def _admit_one(self, seat: Seat) -> None:
        plan, upstream = seat.plan, seat.upstream
        admitted = self._admitted.pop(plan.name, None)
        if admitted is None:
            admitted = await asyncio.to_thread(
                self._tools.admission.admit, plan.name, plan.checkpoint, plan.base
            )
        self._verified[plan.name] = admitted
        digest = admitted.manifest.weights_digest
        if digest != upstream.checkpoint:
            raise AdmissionError(
                f"variant {plan.name!r} is refused: {plan.checkpoint} holds {digest} now, "
                f"and {upstream.checkpoint} when the server started; restart `hallmark serve`"
            )

    async def _first_token(self, upstream: Upstream, process: Engine, began: float) -> None:
        limit = self._tools.settings.engine.start_timeout_seconds
        while time.monotonic() - began < limit:
            if not process.running:
                code = await process.wait()
                raise EngineError(
                    f"the engine of variant {upstream.name!r} ended with code {code} before it "
                    f"answered; all it said: {self.log}; its last lines:\n{process.log_tail()}"
                )
            if self._listens(upstream) and await self._probe(upstream):
                return
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
        raise EngineError(
            f"the engine of variant {upstream.name!r} gave no token within {limit:g} s; set "
            f"HALLMARK_ENGINE_START_TIMEOUT_SECONDS higher, or read {self.log}"
        )

    async def _probe(self, upstream: Upstream) -> bool:
        return await gives_a_token(upstream, self._tools.settings.plan.model_name)

    async def _watch(self, process: Engine) -> str:
        """Why the engine is no longer up, once it is not."""
        silent, tokens = 0, None
        ended = asyncio.ensure_future(process.wait())
        try:
            while True:
                done, _ = await asyncio.wait({ended}, timeout=WATCH_SECONDS)
                if done:
                    return f"its process ended with code {ended.result()}; see {self.log}"
                up = [seat.upstream for seat in self.seats if seat.upstream.state == "up"]
                if not up:
                    continue  # it is draining
                if self.in_flight:
                    before, tokens = tokens, await tokens_done(up[0])
                    if tokens is not None and tokens != before:
                        silent = 0
                        continue  # it is at work: a probe would only stand in line
                silent = 0 if await self._probe(up[0]) else silent + 1
                if silent >= MAX_SILENT_PROBES:
                    return f"it gave no token {silent} times; see {self.log}"
        finally:
            ended.cancel()


def backoff_seconds(failures: int) -> float:
    """How long to wait before the next start: twice as long after each failure, up to a limit."""
    doublings = min(failures, 20)
    return min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * float(2**doublings))


async def gives_a_token(upstream: Upstream, model: str) -> bool:
    """Whether the engine gives a real token now."""
    body = {"model": upstream.model or model, "prompt": "a", "max_tokens": 1}
    headers = {"Content-Type": "application/json", "X-Request-Id": "hallmark-probe"}
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            response = await upstream.post("/v1/completions", json.dumps(body).encode(), headers)
            async with response:
                data = await response.read()
    except (UpstreamFailure, TimeoutError, OSError):
        return False
    return response.status == 200 and b'"abort"' not in data


async def tokens_done(upstream: Upstream) -> float | None:
    """Tokens that vLLM has read and written since it began; None where it does not say."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            _, _, text = await upstream.get("/metrics")
    except (UpstreamFailure, TimeoutError, OSError):
        return None
    return sum(map(float, TOKENS_DONE.findall(text)))


async def wait_all(keepers: Sequence[Keeper]) -> None:
    """Until every engine is up. Raises the first failure."""
    await asyncio.gather(*(asyncio.shield(keeper.first) for keeper in keepers))


async def stop_all(keepers: Sequence[Keeper]) -> None:
    await asyncio.gather(*(keeper.stop() for keeper in keepers), return_exceptions=True)


def _heard(first: asyncio.Future[None]) -> None:
    """Not every failure has somebody who waits for it; its reason is in the upstream too."""
    if not first.cancelled():
        first.exception()
