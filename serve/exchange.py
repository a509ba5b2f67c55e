"""One request on its way through the gateway: what becomes known of it, and its record."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from serve.assignment import Assignment
from serve.errors import ApiError
from serve.recorder import Served
from serve.upstream import Upstream

ROUTES = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}
CLIENT_GONE = 499  # nginx's code for a client that closed its connection

clock = time.perf_counter


@dataclass(slots=True)
class Exchange:
    """What becomes known of one request while it is answered. Times are of ``clock``."""

    route: str
    path: str
    request_id: str = field(default_factory=lambda: "req-" + secrets.token_hex(12))
    started_at: float = field(default_factory=time.time)  # seconds since 1970
    began: float = field(default_factory=clock)  # the request's last byte was read
    body: dict[str, Any] = field(default_factory=dict)
    assignment: Assignment | None = None
    upstream: Upstream | None = None
    stream: bool = False
    wants_usage: bool = True
    asked: float | None = None  # handed to the engine
    heard: float | None = None  # the engine's first event or whole answer
    status: int | None = None
    overhead_ms: float | None = None
    ttft_ms: float | None = None
    tokens: tuple[int | None, int | None] = (None, None)
    finish_reason: str | None = None
    parts: list[bytes] | None = None
    gone: bool = False
    finished: bool = False

    def record(self, experiment: str | None, *, duration_seconds: float) -> Served:
        """What the recorder keeps of an exchange that an engine took part in."""
        assert self.upstream is not None
        assert self.assignment is not None
        return Served(
            request_id=self.request_id,
            experiment=experiment,
            variant=self.upstream.name,
            checkpoint=self.upstream.checkpoint,
            unit_digest=self.assignment.unit_digest,
            pinned=self.assignment.pinned,
            route=self.route,
            status=self.status or CLIENT_GONE,
            started_at=self.started_at,
            ttft_ms=self.ttft_ms,
            duration_ms=duration_seconds * 1000,
            overhead_ms=self.overhead_ms,
            prompt_tokens=self.tokens[0],
            completion_tokens=self.tokens[1],
            finish_reason=self.finish_reason,
            stream=self.stream,
            messages=self.body.get("messages") if self.parts is not None else None,
            answer=b"".join(self.parts) if self.parts else None,
        )


def parse_body(raw: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises ApiError 400 that says where it breaks."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(
            400,
            f"the request's body is no valid JSON: {error}; send a JSON object",
            "invalid_json",
            reason="invalid_request",
        ) from error
    if not isinstance(body, dict):
        raise ApiError(
            400,
            "the request's body must be a JSON object with model and messages or prompt",
            "invalid_json",
            reason="invalid_request",
        )
    return body
