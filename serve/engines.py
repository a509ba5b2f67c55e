"""The supervisor: starts, probes, watches, restarts and ends one vLLM process per variant.

Every start goes through admission, which hashes the files afresh. An engine counts as up
once it has given a real token: vLLM's ``/health`` says yes too early, and while draining.
Engines of one GPU start one after the other; on CPUs they start side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitoring.series import Series
from registry.records import UserError
from registry.trust import Admitted
from serve.admission import Admission, AdmissionError
from serve.engine_process import EngineProcess, launch, on_cpu, split_cores
from serve.settings import ServeSettings, VariantPlan
from serve.upstream import Upstream, UpstreamFailure, describe, new_upstream

log = logging.getLogger("hallmark.engines")

PROBE_PAUSE_SECONDS = 0.25
PROBE_TIMEOUT_SECONDS = 60.0
WATCH_SECONDS = 15.0
MAX_SILENT_PROBES = 2
MAX_BACKOFF_SECONDS = 30.0
STOP_SECONDS = 8.0


class EngineError(UserError):
    """An engine did not start; the message ends with what it said last."""


class Supervisor:
    """All engines of one gateway. ``failure`` is set when one could never be started."""

    def __init__(
        self,
        settings: ServeSettings,
        admission: Admission,
        admitted: Mapping[str, Admitted],
        series: Series,
        *,
        environ: Mapping[str, str],
    ) -> None:
        """``admitted`` is what admission said of each variant just now: good for one start."""
        self._settings = settings
        self._admission = admission
        self._admitted = dict(admitted)
        self._series = series
        self._environ = environ
        self._cpu = on_cpu()
        self._turn = asyncio.Semaphore(len(settings.plan.variants) if self._cpu else 1)
        self._folder = Path(tempfile.mkdtemp(prefix="hallmark-"))
        self._processes: dict[str, EngineProcess] = {}
        self._restarts: dict[str, int] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self.failure: asyncio.Future[UserError] = asyncio.get_running_loop().create_future()
        cores = sorted(settings.engine.cores or os.sched_getaffinity(0))
        plans = settings.plan.variants
        self._cores = dict(
            zip((plan.name for plan in plans), split_cores(cores, len(plans)), strict=True)
        )
        self.upstreams: Mapping[str, Upstream] = {
            plan.name: new_upstream(
                settings,
                plan.name,
                self._admitted[plan.name].manifest.weights_digest,
                self._folder / f"{index}.sock",
            )
            for index, plan in enumerate(plans)
        }

    async def start(self) -> None:
        for plan in self._settings.plan.variants:
            keeper = asyncio.create_task(self._keep(plan), name=f"engine {plan.name}")
            self._keepers.append(keeper)

    async def stop(self) -> None:
        for upstream in self.upstreams.values():
            upstream.state = "draining"
            self._series.engine_up.labels(variant=upstream.name).set(0)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(
            *(process.stop(STOP_SECONDS) for process in self._processes.values()),
            return_exceptions=True,
        )
        for upstream in self.upstreams.values():
            await upstream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def describe(self) -> list[dict[str, Any]]:
        rows = []
        for name, upstream in self.upstreams.items():
            process = self._processes.get(name)
            extra = {
                "restarts": self._restarts.get(name, 0),
                "pid": process.pid if process and process.running else None,
                "log": str(self._log(name)),
            }
            rows.append(describe(upstream) | extra)
        return rows

    def _log(self, name: str) -> Path:
        return self._settings.logs / f"engine-{name}.log"

    async def _keep(self, plan: VariantPlan) -> None:
        """Keep one variant's engine running until cancelled, or until it is hopeless."""
        upstream = self.upstreams[plan.name]
        up = self._series.engine_up.labels(variant=plan.name)
        failures, was_up = 0, False
        while True:
            try:
                process = await self._start(plan, upstream)
                upstream.state, upstream.reason = "up", ""
                up.set(1)
                failures, was_up = 0, True
                upstream.reason = await self._watch(upstream, process)
            except (EngineError, AdmissionError) as error:
                failures += 1
                upstream.reason = str(error)
                hopeless = isinstance(error, AdmissionError) or not was_up
                if hopeless or failures >= self._settings.engine.max_start_attempts:
                    upstream.state = "failed"
                    log.error("variant %s is given up: %s", plan.name, error)
                    if not was_up and not self.failure.done():
                        self.failure.set_result(error)
                    return
            finally:
                up.set(0)
                if upstream.state == "up":
                    upstream.state = "down"
            pause = min(MAX_BACKOFF_SECONDS, 0.5 * 2**failures)
            log.error("variant %s is down: %s; restart in %g s", plan.name, upstream.reason, pause)
            await asyncio.sleep(pause)
            self._restarts[plan.name] = self._restarts.get(plan.name, 0) + 1
            self._series.engine_restarts.labels(variant=plan.name).inc()

    async def _start(self, plan: VariantPlan, upstream: Upstream) -> EngineProcess:
        """Admit, start, and wait for the first token. Raises AdmissionError, EngineError."""
        async with self._turn:
            upstream.state = "starting"
            await self._admit(plan, upstream)
            upstream.socket.unlink(missing_ok=True)
            what = launch(
                self._settings, plan.checkpoint, upstream.socket, self._log(plan.name),
                cores=self._cores[plan.name], environ=self._environ, cpu=self._cpu,
            )  # fmt: skip
            began = time.monotonic()
            process = await EngineProcess.start(what)
            self._processes[plan.name] = process
            try:
                await self._first_token(upstream, process, began)
            except BaseException:
                await process.stop(STOP_SECONDS)
                raise
            log.info("variant %s is up after %.1f s", plan.name, time.monotonic() - began)
            return process

    async def _admit(self, plan: VariantPlan, upstream: Upstream) -> None:
        admitted = self._admitted.pop(plan.name, None)
        if admitted is None:
            admitted = await asyncio.to_thread(self._admission.admit, plan.name, plan.checkpoint)
        digest = admitted.manifest.weights_digest
        if digest != upstream.checkpoint:
            raise AdmissionError(
                f"variant {plan.name!r} is refused: {plan.checkpoint} holds {digest} now, "
                f"and {upstream.checkpoint} when the server started; restart `hallmark serve`"
            )

    async def _first_token(self, upstream: Upstream, process: EngineProcess, began: float) -> None:
        limit = self._settings.engine.start_timeout_seconds
        while time.monotonic() - began < limit:
            if not process.running:
                code = await process.wait()
                raise EngineError(
                    f"the engine of variant {upstream.name!r} ended with code {code} before it "
                    f"answered; all it said: {self._log(upstream.name)}; its last lines:\n"
                    f"{process.log_tail()}"
                )
            if upstream.socket.exists() and await self._probe(upstream):
                return
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
        raise EngineError(
            f"the engine of variant {upstream.name!r} gave no token within {limit:g} s; set "
            f"HALLMARK_ENGINE_START_TIMEOUT_SECONDS higher, or read {self._log(upstream.name)}"
        )

    async def _probe(self, upstream: Upstream) -> bool:
        """Whether the engine gives a real token now."""
        body = {"model": self._settings.plan.model_name, "prompt": "a", "max_tokens": 1}
        headers = {"Content-Type": "application/json", "X-Request-Id": "hallmark-probe"}
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                response = await upstream.post(
                    "/v1/completions", json.dumps(body).encode(), headers
                )
                async with response:
                    data = await response.read()
        except (UpstreamFailure, TimeoutError, OSError):
            return False
        return response.status == 200 and b'"abort"' not in data

    async def _watch(self, upstream: Upstream, process: EngineProcess) -> str:
        """Why the engine is no longer up, once it is not."""
        silent = 0
        while True:
            with contextlib.suppress(TimeoutError):
                code = await asyncio.wait_for(asyncio.shield(process.wait()), WATCH_SECONDS)
                return f"its process ended with code {code}; see {self._log(upstream.name)}"
            if upstream.in_flight:
                continue
            silent = 0 if await self._probe(upstream) else silent + 1
            if silent >= MAX_SILENT_PROBES:
                await process.stop(STOP_SECONDS)
                return f"it gave no token {silent} times; see {self._log(upstream.name)}"
