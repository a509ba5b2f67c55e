"""A variant's live engine as the hot path sees it: an address, a state and its free slots."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from serve.engine_client import Answer, Connection, EngineClient
from serve.settings import ServeSettings

# starting: loading; up: answers; draining: finishes what it has; down: waits for a restart;
# failed: given up, somebody must look.
State = Literal["starting", "up", "draining", "down", "failed"]


class Upstream:
    """One engine behind a Unix socket. Only the event loop that opened it may use it."""

    def __init__(
        self,
        name: str,
        checkpoint: str,
        socket: Path,
        *,
        max_in_flight: int,
        silence_seconds: float,
        answer_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``silence_seconds`` may pass without a byte, ``answer_seconds`` until the last one;
        ``headers`` go with every request."""
        self.name = name
        self.checkpoint = checkpoint
        self.socket = socket
        self.max_in_flight = max_in_flight
        self.state: State = "starting"
        self.reason = ""
        self.in_flight = 0
        self.model: str | None = None
        """The name that the engine answers to; None: the plan's. Adapters have their own."""
        self._client = EngineClient(
            self._connect,
            silence_seconds=silence_seconds,
            answer_seconds=math.inf if answer_seconds is None else answer_seconds,
            headers=headers,
        )

    async def _connect(self, made: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(made, str(self.socket))
        return connection

    def close(self) -> None:
        self._client.close()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer's head, of JSON that is asked. Raises UpstreamFailure."""
        return await self._client.ask("POST", path, body, headers)

    async def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body. Raises UpstreamFailure."""
        async with await self._client.ask("GET", path, b"", {}) as answer:
            kind = answer.headers.get(b"content-type", b"application/octet-stream")
            return answer.status, kind.decode("latin-1"), await answer.read()


def describe(upstream: Upstream) -> dict[str, Any]:
    return {
        "variant": upstream.name,
        "checkpoint": upstream.checkpoint,
        "state": upstream.state,
        "reason": upstream.reason,
        "in_flight": upstream.in_flight,
        "max_in_flight": upstream.max_in_flight,
    }


def new_upstream(settings: ServeSettings, name: str, checkpoint: str, socket: Path) -> Upstream:
    return Upstream(
        name,
        checkpoint,
        socket,
        max_in_flight=settings.max_in_flight,
        silence_seconds=settings.request_timeout_seconds,
        answer_seconds=settings.answer_timeout_seconds,
    )
