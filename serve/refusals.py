"""What an engine said instead of an answer, turned into what the client should read."""

from __future__ import annotations

from typing import Any

from serve import sse
from serve.engine_client import UpstreamFailure
from serve.errors import ApiError

BUSY = {429: 1, 503: 2}  # seconds until a retry may help; vLLM sends no Retry-After
CONTEXT_MARKS = ("context length", "max_model_len", "maximum model length")


def refusal_of(status: int | None, data: bytes) -> ApiError:
    """The error to send for an engine's error body; ``status`` None reads it from the body.

    The engine's 4xx keep status and message: they are the client's to mend. Its 5xx and
    what is no error at all raise UpstreamFailure: they are not the client's fault.
    """
    body = sse.parse(data)
    error = body.get("error")
    fields: dict[str, Any] = error if isinstance(error, dict) else body
    message = str(fields.get("message") or "the engine gave no reason")
    if status is None:
        code = fields.get("code")
        status = code if isinstance(code, int) and 400 <= code <= 599 else 500
    if status in BUSY:
        return ApiError(status, message, "overloaded", retry_after_seconds=BUSY[status])
    if status >= 500 or status < 400:
        raise UpstreamFailure("status", f"the engine failed with status {status}")
    param = fields.get("param")
    param = param if isinstance(param, str) else None
    if any(mark in message for mark in CONTEXT_MARKS):
        return ApiError(
            status, message, "context_length_exceeded", param or "messages",
            reason="context_length",
        )  # fmt: skip
    code = fields.get("code")
    named = code if isinstance(code, str) else str(fields.get("type") or "invalid_request")
    return ApiError(status, message, named, param, reason="invalid_request")


def check_answer(data: bytes) -> None:
    """Raise UpstreamFailure for what only looks like an answer. Reads its marks alone.

    An engine that is draining answers 200 with no text and the finish reason "abort".
    """
    text = data.strip()
    if not (text.startswith(b"{") and text.endswith(b"}")):
        raise UpstreamFailure("stream", "the engine's answer is no JSON object")
    if sse.ABORT.search(text):
        raise UpstreamFailure("abort", "the engine aborted the answer", status=503)
