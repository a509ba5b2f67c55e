"""What every answer tells a browser: trust nothing of it further than it must.

The list is OWASP's for REST services (REST Security Cheat Sheet, "Security headers"): no
sniffing of types, no framing, no referrer, no storing. An API's answer may load nothing; a page
may load scripts and styles of its own origin and nothing else, so that a model which answers
``<script>`` harms nobody even where escaping failed. A header that a route sets itself stays.
HSTS is left to whoever terminates TLS.

Other origins are refused (no CORS headers at all) unless ``cors_origins`` names them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

EVERYWHERE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    b"frame-ancestors 'none'"
)
ASKED = ("authorization", "content-type", "x-hallmark-unit", "traceparent", "tracestate")
SHOWN = (
    "x-request-id",
    "x-hallmark-variant",
    "x-hallmark-checkpoint",
    "x-hallmark-experiment",
    "x-hallmark-overhead-ms",
    "retry-after",
)


def dressed(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of an answer and those that it does not set itself; names in lower case."""
    given = list(headers)
    names = {name.lower(): value for name, value in given}
    given += [pair for pair in EVERYWHERE if pair[0] not in names]
    if b"content-security-policy" not in names:
        page = names.get(b"content-type", b"").startswith(b"text/html")
        given.append((b"content-security-policy", PAGE_POLICY if page else API_POLICY))
    if status == 401:
        given.append((b"www-authenticate", b"Bearer"))  # RFC 9110, section 15.5.2
    return given


def guarded(app: ASGIApp, cors_origins: Sequence[str]) -> ASGIApp:
    """``app`` with these headers on every answer, and CORS for the origins that are named."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        def dress_and_send(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = dressed(message["status"], message.get("headers", ()))
            return send(message)

        await app(scope, receive, dress_and_send if scope["type"] == "http" else send)

    if not cors_origins:
        return answer
    return CORSMiddleware(
        answer,
        allow_origins=list(cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=list(ASKED),
        expose_headers=list(SHOWN),
    )
