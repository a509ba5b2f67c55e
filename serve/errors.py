"""What a client reads when it gets no answer: OpenAI's error object."""

from __future__ import annotations

import json
from dataclasses import dataclass

KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


@dataclass
class ApiError(Exception):
    """A refusal with the HTTP status and the body that the ``openai`` client understands.

    ``reason`` is a label of ``hallmark_rejections_total``, or None where the engine was
    asked. ``retry_after_seconds`` becomes the Retry-After header.
    """

    status: int
    message: str
    code: str
    param: str | None = None
    reason: str | None = None
    retry_after_seconds: int | None = None

    @property
    def body(self) -> bytes:
        return error_body(self.status, self.message, self.code, self.param)


def error_body(status: int, message: str, code: str, param: str | None = None) -> bytes:
    """``{"error": {...}}`` with the type that belongs to the status."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    fields = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": fields}).encode()


def error_event(status: int, message: str, code: str) -> bytes:
    """The same as the last events of a stream whose status line has been sent."""
    return b"data: " + error_body(status, message, code) + b"\n\ndata: [DONE]\n\n"
