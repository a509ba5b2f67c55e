"""Shadows: variants that get a copy of a sticky sample of requests and answer nobody.

A copy is made once the user has been answered, so it delays no answer; it is dropped, and
counted, where enough of them are under way. Its record is excluded as ``shadow`` and names
the request that it copies, so that no arm's metrics hold it and both answers can be
compared on the same prompt (`hallmark experiment status`). Its engine must not share a
machine with the variants whose latency is measured.

The interface to the hot path, once an exchange with status 200 is over and recorded, unless
another variant stood in:

    for name in assignment.shadows:
        shadows.copy(name, Copy(...))
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from monitoring.series import Series
from registry.served import Purpose
from serve import sse
from serve.recorder import Served
from serve.replicas import Fleet

log = logging.getLogger("hallmark.shadow")

MAX_IN_FLIGHT = 8
TIMEOUT_SECONDS = 120.0
ROUTES = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}


@dataclass(frozen=True)
class Copy:
    """What a shadow is asked: a request that a user was answered with status 200."""

    request_id: str
    path: str
    body: Mapping[str, Any]
    experiment: str
    unit_digest: str
    segments: dict[str, str] | None = None
    user: str | None = None
    """The person it names: an erasure has to find the copy too."""
    purposes: tuple[Purpose, ...] | None = None
    keep_texts: bool = False
    """Whether the original's texts were kept."""


class Shadows:
    """All shadows of one gateway. ``put`` takes records and never waits (Recorder.put)."""

    def __init__(
        self,
        fleet: Fleet,
        put: Callable[[Served], None],
        series: Series,
        *,
        model_name: str,
        max_in_flight: int = MAX_IN_FLIGHT,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """``model_name`` is what engines without a name of their own answer to."""
        self._fleet = fleet
        self._put = put
        self._series = series
        self._model_name = model_name
        self._max_in_flight = max_in_flight
        self._timeout = timeout_seconds
        self._running: set[asyncio.Task[None]] = set()

    def copy(self, name: str, copied: Copy) -> None:
        """Ask a shadow in the background. Never waits and never raises."""
        if name not in self._fleet.replicas or copied.path not in ROUTES:
            return
        if len(self._running) >= self._max_in_flight:
            self._count(name, "dropped")
            return
        task = asyncio.create_task(self._ask(name, copied), name=f"shadow {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what is under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(self, name: str, copied: Copy) -> None:
        checkpoint = self._fleet.replicas[name].checkpoint
        began, started_at = time.perf_counter(), time.time()
        answer = b""
        try:
            async with asyncio.timeout(self._timeout):
                status, answer = await self._answer(name, copied)
        except Exception as error:  # edge of a supervised task: a shadow may fail as it likes
            log.exception("shadow %s gave no answer to %s", name, copied.request_id)
            status = 504 if isinstance(error, TimeoutError) else 502
        self._count(name, "answered" if status == 200 else "failed")
        tokens: tuple[int | None, int | None] = (None, None)
        finish = None
        if status == 200:
            tokens = sse.usage_in(answer)
            found = sse.FINISH.search(answer)
            finish = found[1].decode() if found else None
        keep = copied.keep_texts and status == 200
        self._put(
            Served(
                request_id=f"{copied.request_id}-{name}",
                experiment=copied.experiment,
                variant=name,
                checkpoint=checkpoint,
                unit_digest=copied.unit_digest,
                pinned=False,
                route=ROUTES[copied.path],
                status=status,
                started_at=started_at,
                ttft_ms=None,
                duration_ms=(time.perf_counter() - began) * 1000,
                overhead_ms=None,
                prompt_tokens=tokens[0],
                completion_tokens=tokens[1],
                finish_reason=finish,
                messages=copied.body.get("messages") if keep else None,
                answer=answer if keep else None,
                excluded="shadow",
                segments=copied.segments,
                shadow_of=copied.request_id,
                user=copied.user,
                purposes=copied.purposes,
            )
        )

    async def _answer(self, name: str, copied: Copy) -> tuple[int, bytes]:
        """Status and whole body. A shadow's slot is taken like anyone's, of its own engines."""
        lease = await self._fleet.lease(name, copied.unit_digest, pinned=True)
        answered = False
        try:
            upstream = lease.upstream
            headers = {
                "Content-Type": "application/json",
                "X-Request-Id": f"{copied.request_id}-{name}",
            }
            body = _whole(copied.body, upstream.model or self._model_name)
            async with await upstream.post(copied.path, body, headers) as response:
                data = await response.read()
                answered = response.status < 500
                return response.status, data
        finally:
            lease.close("answered" if answered else "failed")

    def _count(self, name: str, outcome: str) -> None:
        self._series.shadow_requests.labels(variant=name, outcome=outcome).inc()


def _whole(body: Mapping[str, Any], model: str) -> bytes:
    """The same question, asked for one whole answer."""
    left = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
    return json.dumps({**left, "model": model}).encode()
