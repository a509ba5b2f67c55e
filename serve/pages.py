"""The pages: chat, arena, labelling, and feedback by link. Files as they are, nothing built.

    GET /chat, /arena, /label, /feedback    the pages; they hold no data and need no key
    GET /pages/NAME                         their style, scripts and icon

Everything is of this origin and nothing is inline, so the policy allows no other script at
all; trusted types forbid the sinks that would parse text as markup (innerHTML and the like),
and the scripts write with textContent alone. A model that answers ``<script>`` is shown it.
Sources: CSP Level 3, https://www.w3.org/TR/CSP3/; Trusted Types,
https://www.w3.org/TR/trusted-types/.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

FOLDER = Path(__file__).parent / "pages"
PAGES = {"/chat": "chat", "/arena": "arena", "/label": "label", "/feedback": "feedback"}
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Cache-Control": "no-cache",
}


def routes() -> APIRouter:
    """The files are read once, here."""
    router = APIRouter()
    for path, name in PAGES.items():
        _serve(router, path, FOLDER / f"{name}.html", "text/html; charset=utf-8")
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in KINDS:
            _serve(router, f"/pages/{file.name}", file, KINDS[file.suffix])
    return router


def _serve(router: APIRouter, path: str, file: Path, kind: str) -> None:
    content = file.read_bytes()

    async def answer() -> Response:
        return Response(content, headers={**HEADERS, "Content-Type": kind})

    router.add_api_route(path, answer, methods=["GET"], include_in_schema=False)
