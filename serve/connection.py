"""One client's connection: uvicorn's HTTP/1.1, with bounds on how a request may arrive.

uvicorn reads a head of any size for any time. Here a head that is too large gets 431, a head
or a body that does not arrive in time gets 408, and the connection is closed; what is no HTTP
gets 400. All three in OpenAI's shape, for they come before any route. A client that leaves its
answer unread is cut off, which ends its request like that of one that has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve.errors import ApiError
from serve.headers import dressed
from serve.limits import WATCH
from serve.settings import ServeSettings


class Connection(HttpToolsProtocol):
    """Its timer runs only while a request is incomplete: one in one piece costs nothing more.

    The class attributes are set by ``connection_class``.
    """

    max_header_bytes: int
    header_timeout_seconds: float
    body_timeout_seconds: float
    reader_timeout_seconds: float

    _out: HeadWithBody
    _unread: asyncio.TimerHandle | None = None  # runs while the client has 64 KiB to read
    _waiting_for: str | None = None  # "head" or "body" of a request that is not complete
    _received = 0  # bytes of a head that is not complete
    _timer: asyncio.TimerHandle | None = None
    _refusal: ApiError | None = None
    _gone: Callable[[], None] | None = None  # of the request that is answered

    # uvicorn itself narrows the transport here, against asyncio's own type
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._out = HeadWithBody(transport, self.loop)
        self._wait_for("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
        self._taken()
        super().connection_lost(exc)
        if self._gone is not None:
            self._gone()
            self._gone = None

    def watch(self, gone: Callable[[], None] | None) -> None:
        """See ``limits.WATCH``; requests of one connection are answered one after the other."""
        self._gone = gone
        if gone is not None:
            self.flow.resume_reading()  # else nobody sees the connection's end
            if self.cycle.disconnected:
                gone()

    def pause_writing(self) -> None:
        # Closing would wait until the client has read what is buffered.
        self._unread = self.loop.call_later(self.reader_timeout_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        before = self._waiting_for
        self._received = len(data) + (self._received if before == "head" else 0)
        super().data_received(data)
        now = self._waiting_for
        if now is None or self.transport.is_closing():
            self._end_wait()
        elif now == "head" and self._received > self.max_header_bytes:
            self._refuse(self._too_large())
        elif self._timer is None or now != before:
            self._wait_for(now)

    def on_message_begin(self) -> None:
        self._waiting_for = "head"
        super().on_message_begin()
        self.scope["extensions"] = {WATCH: {"set": self.watch}}

    def on_headers_complete(self) -> None:
        # What came in one piece with a body was not counted before.
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.max_header_bytes:
            self._refusal = self._too_large()
            raise ValueError("the head is too large")  # ends the parser; see send_400_response
        super().on_headers_complete()
        self.cycle.transport = self._out  # type: ignore[assignment]  # it needs these methods alone
        self._waiting_for = "body"

    def on_message_complete(self) -> None:
        # A head that begins in the same piece is not counted in it.
        self._waiting_for, self._received = None, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for anything that its parser refuses, our own limits among it."""
        self._refuse(self._refusal or ApiError(400, "this is no valid HTTP/1.1", "invalid_http"))

    def _too_large(self) -> ApiError:
        return ApiError(
            431,
            f"the request's line and headers are larger than {self.max_header_bytes} bytes; "
            "send fewer",
            "headers_too_large",
        )

    def _wait_for(self, what: str) -> None:
        self._end_wait()
        self._waiting_for = what
        seconds = self.header_timeout_seconds if what == "head" else self.body_timeout_seconds
        self._timer = self.loop.call_later(seconds, self._too_slow, what, seconds)

    def _end_wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self, what: str, seconds: float) -> None:
        self._timer = None
        if not self.transport.is_closing():
            message = f"the request's {what} did not arrive within {seconds:g} s"
            self._refuse(ApiError(408, message, "request_timeout"))

    def _refuse(self, error: ApiError) -> None:
        """Answer, unless this request's answer has begun, and close the connection."""
        self._end_wait()
        if self.transport.is_closing():
            return
        cycle = self.cycle  # of the request before, while a head is read
        ended = cycle is not None and cycle.response_complete and self._waiting_for == "head"
        if cycle is None or ended or not cycle.response_started:
            body = error.body
            headers = dressed(
                error.status,
                [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(body)),
                    (b"connection", b"close"),
                ],
            )
            lines = [b"%s: %s\r\n" % pair for pair in headers]
            status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
            self.transport.write(b"".join([status.encode(), *lines, b"\r\n", body]))
        self._out.close()


class HeadWithBody:
    """An answer's way out: its head leaves with its first bytes, or at the end of the turn.

    uvicorn writes them one after the other, which are two system calls here and two
    packets for the client.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            self._head, data = b"", self._head + data
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head that nothing came after."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self.flush()
        self._transport.close()


def connection_class(settings: ServeSettings) -> type[Connection]:
    """For ``uvicorn.Config(http=...)``: connections with the settings' limits."""
    limits = {
        "max_header_bytes": settings.max_header_bytes,
        "header_timeout_seconds": settings.header_timeout_seconds,
        "body_timeout_seconds": settings.body_timeout_seconds,
        "reader_timeout_seconds": settings.reader_timeout_seconds,
    }
    return type("LimitedConnection", (Connection,), limits)
