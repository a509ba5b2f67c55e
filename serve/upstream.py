"""A variant's live engine as the hot path sees it: an address, a state and its free slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import aiohttp

from serve.settings import ServeSettings

# starting: loading; up: answers; draining: finishes what it has; down: waits for a restart;
# failed: given up, somebody must look.
State = Literal["starting", "up", "draining", "down", "failed"]

KEEP_ALIVE_SECONDS = 30


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
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.socket = socket
        self.max_in_flight = max_in_flight
        self.state: State = "starting"
        self.reason = ""
        self.in_flight = 0
        self._timeout = aiohttp.ClientTimeout(total=None, sock_read=silence_seconds)
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
                return await self.session.post(url, data=body, headers=headers)
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


class Engines(Protocol):
    """All variants' engines of one gateway."""

    @property
    def upstreams(self) -> Mapping[str, Upstream]: ...

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
    """Engines that somebody else runs: the fake in tests, the mock in benchmarks."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.upstreams: Mapping[str, Upstream] = {one.name: one for one in upstreams}

    async def start(self) -> None:
        for upstream in self.upstreams.values():
            upstream.state = "up"

    async def stop(self) -> None:
        for upstream in self.upstreams.values():
            upstream.state = "draining"
            await upstream.close()

    def describe(self) -> list[dict[str, Any]]:
        return [describe(upstream) for upstream in self.upstreams.values()]


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
    )
