"""How large a request's body may be, and whether somebody still waits for its answer.

Its head and its pace: ``serve.connection``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serve.errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


WATCH = "hallmark.watch"
"""Extension of a scope: its ``set`` takes what to call once the client has gone, or None."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header's value; ``name`` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises ApiError 413 above ``max_bytes``, ClientGone where it breaks off."""
    announced = header(scope, b"content-length")
    if announced is not None and announced[:18].isdigit() and int(announced[:18]) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
    return b"".join(parts)


def when_gone(scope: Scope, receive: Receive, gone: Callable[[], None]) -> Callable[[], object]:
    """Call ``gone`` once the client has closed its connection, until what this returns is called.

    Where the server has no WATCH a task waits for ASGI's message, which costs more.
    """
    server = scope.get("extensions", {}).get(WATCH)
    if server is not None:
        watch = server["set"]
        watch(gone)
        return lambda: watch(None)
    return asyncio.ensure_future(_receive_until_gone(receive, gone)).cancel


async def _receive_until_gone(receive: Receive, gone: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(
        413,
        f"the request's body is larger than {max_bytes} bytes; send a shorter conversation",
        "request_too_large",
        reason="too_large",
    )
