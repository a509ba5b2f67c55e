"""Who may ask, and how much: bearer keys and body sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from serve.errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Keys:
    """Bearer tokens, held as SHA-256. With none configured everybody may ask."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = frozenset(hashlib.sha256(token.encode()).digest() for token in tokens)

    def check(self, authorization: bytes | None) -> None:
        """Raise ApiError 401 unless the header's value carries one of the tokens."""
        if not self._digests:
            return
        kind, _, token = (authorization or b"").partition(b" ")
        known = hashlib.sha256(token.strip()).digest() in self._digests
        if kind.lower() != b"bearer" or not known:
            raise ApiError(
                401,
                "missing or wrong API key; send it as 'Authorization: Bearer KEY'",
                "invalid_api_key",
                reason="unauthorized",
            )


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header's value; ``name`` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises ApiError 413 above ``max_bytes``, ClientGone where it breaks off."""
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > max_bytes:
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


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(
        413,
        f"the request's body is larger than {max_bytes} bytes; send a shorter conversation",
        "request_too_large",
        reason="too_large",
    )
