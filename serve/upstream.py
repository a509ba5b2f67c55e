"""A variant's live engine as the hot path sees it: an address, a state and its free slots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import aiohttp

from serve.settings import ServeSettings

# starting: loading; up: answers; draining: finishes what it has; down: waits for a restart;
# failed: given up, somebody must look.
State = Literal["starting", "up", "draining", "down", "failed"]

KEEP_ALIVE_SECONDS = 30
MAX_ANSWER_BYTES = 256 * 2**20


class UpstreamFailure(Exception):
    """The engine did not answer as it should. ``reason`` is of series.FAILURE_REASONS."""

    def __init__(self, reason: str, message: str, *, status: int = 502) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


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
    ) -> None:
        """``silence_seconds`` may pass without a byte, ``answer_seconds`` until the last one."""
        self.name = name
        self.checkpoint = checkpoint
        self.socket = socket
        self.max_in_flight = max_in_flight
        self.state: State = "starting"
        self.reason = ""
        self.in_flight = 0
        self.model: str | None = None
        """The name that the engine answers to; None: the plan's. Adapters have their own."""
        self._timeout = aiohttp.ClientTimeout(total=answer_seconds, sock_read=silence_seconds)
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(
                    str(self.socket), limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The response's head. Raises UpstreamFailure.

        Asks a second time, once, where the connection broke before the head came: a
        kept-alive connection may have been closed by the engine just then.
        """
        url = "http://engine" + path
        for attempt in (1, 2):
            try:
                data = aiohttp.BytesPayload(body, content_type="application/json")
                return await self.session.post(
                    url, data=data, headers=headers, allow_redirects=False
                )
            except aiohttp.ClientConnectorError as error:
                raise UpstreamFailure("connect", "the engine is not there", status=503) from error
            except aiohttp.ClientConnectionError as error:
                if isinstance(error, TimeoutError):
                    raise UpstreamFailure("timeout", "the engine is silent", status=504) from error
                if attempt == 2:
                    raise UpstreamFailure(
                        "connect", "the engine hung up before it answered", status=503
                    ) from error
            except aiohttp.ClientError as error:
                raise UpstreamFailure("stream", "the engine answered no HTTP") from error
        raise AssertionError("unreachable")

    async def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body. Raises UpstreamFailure."""
        try:
            async with self.session.get("http://engine" + path) as response:
                kind = response.headers.get("Content-Type", "application/octet-stream")
                return response.status, kind, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamFailure("connect", "the engine is not there", status=503) from error


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """A whole answer. Raises UpstreamFailure for one that would fill the memory."""
    parts: list[bytes] = []
    size = 0
    while part := await response.content.readany():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise UpstreamFailure("stream", f"the engine's answer is over {MAX_ANSWER_BYTES} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
