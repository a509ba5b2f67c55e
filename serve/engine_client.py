"""HTTP/1.1 to an engine over kept-alive connections: what the hot path needs, and no more.

A general client (aiohttp's) took as long for a request as all that the gateway does with it.
The bytes are parsed by llhttp, through httptools, as those of the gateway's own clients are.

A connection carries one request at a time. It is kept for the next one only after an answer
that came whole and said nothing else; what was sent unasked, or left unread, closes it. So an
engine's answer cannot reach somebody who did not ask for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import httptools

CONNECT_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 30.0
MAX_HEAD_BYTES = 64 * 2**10
MAX_HELD_BYTES = 256 * 2**10  # of a body that nobody reads: then the engine has to wait
MAX_ANSWER_BYTES = 256 * 2**20


class UpstreamFailure(Exception):
    """The engine did not answer as it should. ``reason`` is of series.FAILURE_REASONS."""

    def __init__(self, reason: str, message: str, *, status: int = 502) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class Answer:
    """An engine's answer, whose head has come and whose body is read as it comes.

    ``async with`` gives its connection back, or closes it where the body was not read to its
    end, which stops the engine's work. Header names are in lower case.
    """

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self._connection = connection
        self._failure: UpstreamFailure | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def content_type(self) -> str:
        """Without its parameters, in lower case; "" where the engine names none."""
        value = self.headers.get(b"content-type", b"").partition(b";")[0]
        return value.strip().lower().decode("latin-1")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._connection.release(self)

    async def readany(self) -> bytes:
        """What has come since the last call, once there is any; b"" at the body's end.

        Raises UpstreamFailure.
        """
        while not self._held:
            if self.complete:
                return b""
            await self._more()
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        if self._held_bytes > MAX_HELD_BYTES:
            self._connection.resume()
        self._held_bytes = 0
        return data

    async def read(self) -> bytes:
        """The whole body. Raises UpstreamFailure for one that would fill the memory."""
        parts: list[bytes] = []
        size = 0
        while part := await self.readany():
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamFailure(
                    "stream", f"the engine's answer is over {MAX_ANSWER_BYTES} bytes"
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def head(self) -> None:
        """Until the status and the headers are there. Raises UpstreamFailure."""
        while not self.status:
            await self._more()

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # What its connection tells it

    def take(self, data: bytes) -> bool:
        """Keep a part of the body; whether the engine has to wait until it was read."""
        self._held.append(data)
        self._held_bytes += len(data)
        self.wake()
        return self._held_bytes > MAX_HELD_BYTES

    def fail(self, failure: UpstreamFailure) -> None:
        self._failure = failure
        self.wake()

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection to an engine, and the answer that it waits for."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._coming: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._ends_with_connection = False
        self._keep = False
        self._paused = False
        self._heard = self._loop.time()
        self._deadline = math.inf
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, request: bytes) -> Answer:
        """Send a request; its answer has nothing yet."""
        answer = self._answer = Answer(self)
        self._keep = self._ends_with_connection = False
        self._head_bytes = 0
        now = self._heard = self._loop.time()
        self._deadline = now + self._client.answer_seconds
        self._look_at(min(now + self._client.silence_seconds, self._deadline))
        self._transport.write(request)
        return answer

    def release(self, answer: Answer) -> None:
        """The answer is not read any further; called once it was read, or given up."""
        if answer is not self._answer:
            return
        self._answer = None
        if answer.complete and self._keep and not self._paused:
            self._heard = self._loop.time()
            self._look_at(self._heard + KEEP_ALIVE_SECONDS)
            self._client.keep(self)
        else:
            self.abort()

    def abort(self) -> None:
        self._client.lost(self)
        self._transport.abort()

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._heard = self._loop.time()
            self._transport.resume_reading()

    # Time: one timer a connection, set anew only where it would come too late

    def _look_at(self, when: float) -> None:
        if when < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = when
            self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._due, self._timer = math.inf, None
        now = self._loop.time()
        if self._paused:
            self._heard = now  # it is we who keep the engine waiting
        if self._answer is None:
            due = self._heard + KEEP_ALIVE_SECONDS
            if now >= due:
                self.abort()
                return
        else:
            silent = self._heard + self._client.silence_seconds
            due = min(silent, self._deadline)
            if now >= due:
                said = "fell silent" if now >= silent else "took longer than it may"
                self._break(UpstreamFailure("timeout", f"the engine {said}", status=504))
                return
        self._look_at(due)

    # asyncio.Protocol

    # asyncio's own type is narrowed to what a stream's connection gets
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked
            self.abort()
            return
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._break(UpstreamFailure("stream", "the engine answered no HTTP"))
            return
        if not self._answer.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break(UpstreamFailure("stream", "the engine's headers have no end"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._client.lost(self)
        answer = self._answer
        if answer is None or answer.complete:
            return
        if not answer.status and not self._head_bytes:
            said = "the engine hung up before it answered"
            self._break(UpstreamFailure("connect", said, status=503))
        elif self._ends_with_connection and error is None:
            self.on_message_complete()
        else:
            self._break(UpstreamFailure("stream", "the engine broke off its answer"))

    def _break(self, failure: UpstreamFailure) -> None:
        self._keep = False
        if self._answer is not None and not self._answer.complete:
            self._answer.fail(failure)
        self.abort()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self._coming = {}
        if self._answer is None or self._answer.complete:
            raise RuntimeError("an answer that nobody asked for")  # ends the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._coming[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        answer, headers = self._answer, self._coming
        if answer is not None and status >= 200:  # before it may come 100 Continue
            answer.status, answer.headers = status, headers
            self._ends_with_connection = not (
                b"content-length" in headers or b"transfer-encoding" in headers
            )
            answer.wake()

    def on_body(self, data: bytes) -> None:
        if self._answer is not None and self._answer.take(data) and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is not None and answer.status:
            self._keep = self._parser.should_keep_alive()
            answer.complete = True
            answer.wake()


class EngineClient:
    """The kept connections of one engine. Only the event loop that opened it may use it."""

    def __init__(
        self,
        connect: Callable[[Callable[[], Connection]], Awaitable[Connection]],
        *,
        silence_seconds: float,
        answer_seconds: float = math.inf,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``connect`` opens a connection with the protocol that it is given. ``headers`` go
        with every request. ``silence_seconds`` may pass without a byte, ``answer_seconds``
        until the last one."""
        self.silence_seconds = silence_seconds
        self.answer_seconds = answer_seconds
        self._connect = connect
        self._headers = dict(headers or {})
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer's head. Raises UpstreamFailure.

        Asks a second time, once, where the connection broke before a byte came: a kept one
        may have been closed by the engine just then.
        """
        request = self._request(method, path, body, headers)
        for attempt in (1, 2):
            connection = self._kept() or await self._opened()
            answer = connection.ask(request)
            try:
                await answer.head()
            except UpstreamFailure as failure:
                connection.release(answer)
                if failure.reason != "connect" or attempt == 2:
                    raise
            except BaseException:
                connection.release(answer)
                raise
            else:
                return answer
        raise AssertionError("unreachable")

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: engine"]
        for name, value in (*self._headers.items(), *headers.items()):
            if "\r" in value or "\n" in value:
                raise ValueError(f"a line break in the header {name}")
            lines.append(f"{name}: {value}")
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
            if "Content-Type" not in headers:
                lines.append("Content-Type: application/json")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closing:
                return connection
        return None

    async def _opened(self) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await self._connect(lambda: Connection(self))
        except OSError as error:  # TimeoutError is one
            raise UpstreamFailure("connect", "the engine is not there", status=503) from error
        self._open.add(connection)
        return connection

    def keep(self, connection: Connection) -> None:
        if connection in self._open:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close all connections, those that wait for an answer too."""
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
