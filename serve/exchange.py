"""One request on its way through the gateway: its body, what becomes known, and its record."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.api_keys import ApiKey
from registry.served import Purpose
from serve.assignment import MAX_UNIT_BYTES, Assignment
from serve.errors import ApiError
from serve.quotas import Reservation
from serve.recorder import Served
from serve.replicas import Lease

ROUTES = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
CLIENT_GONE = 499  # nginx's code for a client that closed its connection

clock = time.perf_counter

_MODEL = b'"model"'
_MODEL_FIELD = re.compile(rb'(?<!\\)"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_ASK_USAGE = b'"stream_options":{"include_usage":true},'


def _request_ids() -> Iterator[str]:
    """Milliseconds since 1970 and 80 random bits, in the manner of UUID version 7 (RFC 9562, 5.7).

    In the order of time, because the ledger's index then grows at its end alone. The system
    is asked for many random bits at once, which costs less.
    """
    while True:
        digits = os.urandom(10 * 256).hex()
        for start in range(0, len(digits), 20):
            yield f"req-{time.time_ns() // 1_000_000:012x}{digits[start : start + 20]}"


_new_request_id = _request_ids().__next__


@dataclass(slots=True, eq=False)
class Exchange:
    """What becomes known of one request while it is answered. Times are of ``clock``."""

    route: str
    path: str
    request_id: str = field(default_factory=_new_request_id)
    started_at: float = field(default_factory=time.time)  # seconds since 1970
    began: float = field(default_factory=clock)  # the request's last byte was read
    body: dict[str, Any] = field(default_factory=dict)
    key: ApiKey | None = None
    assignment: Assignment | None = None
    lease: Lease | None = None
    purposes: tuple[Purpose, ...] | None = None
    user: str | None = None
    stream: bool = False
    wants_usage: bool = True
    asked: float | None = None  # handed to the engine
    heard: float | None = None  # the engine's first event or whole answer
    status: int | None = None
    overhead_ms: float | None = None
    ttft_ms: float | None = None
    tokens: tuple[int | None, int | None] = (None, None)
    finish_reason: str | None = None
    parts: list[bytes] | None = None  # what the engine sent, where conversations are kept
    prelude: bytes = b""  # comments that came before the first event
    tail: bytes = b""  # the last events with a usage
    cut: bool = False  # what was sent last is not a whole event
    ended: bool = False  # the stream said that it is complete
    complained: bool = False  # the stream carried the engine's own error
    failure: str | None = None  # how the engine failed, of series.FAILURE_REASONS
    error: str | None = None  # the code of the error that the client was sent
    gone: bool = False
    finished: bool = False
    context: dict[str, str] = field(default_factory=dict)  # W3C trace context to hand on
    reservation: Reservation | None = None
    span: Any = None

    def restart(self) -> None:
        """Forget an engine that failed before anything of its answer was sent."""
        self.heard = self.ttft_ms = self.finish_reason = None
        self.prelude, self.ended = b"", False
        if self.parts is not None:
            self.parts = []

    def record(self, experiment: str | None, *, duration_seconds: float) -> Served:
        """What the recorder keeps of an exchange that an engine took part in."""
        assert self.lease is not None
        assert self.assignment is not None
        crossed = self.lease.crossed_from is not None
        return Served(
            request_id=self.request_id,
            experiment=experiment,
            variant=self.lease.upstream.name,
            checkpoint=self.lease.upstream.checkpoint,
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
            excluded="crossed" if crossed else self.assignment.excluded,
            propensity=None if crossed else self.assignment.propensity,
            segments=self.assignment.segments,
            user=self.user,
            purposes=self.purposes,
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


def user_of(body: Mapping[str, Any], header_unit: bytes | None) -> str | None:
    """The person that a request names: the unit's header, else OpenAI's field or the one before."""
    if header_unit:
        return header_unit[:MAX_UNIT_BYTES].decode("utf-8", "replace")
    for name in ("safety_identifier", "user"):
        value = body.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def rewritten(raw: bytes, body: Mapping[str, Any], model: str | None, ask_usage: bool) -> bytes:
    """``raw`` with another ``model``, or asking a stream for its usage; all other bytes stay.

    ``body`` is what ``raw`` says. Written anew, with the same meaning, is only a body that
    says "model" more than once, has stream options already, or is not UTF-8.
    """
    text = raw
    if model is not None:
        at = raw.find(_MODEL)
        named = _MODEL_FIELD.match(raw, at) if at >= 0 else None
        if named is None or raw.count(_MODEL) != 1 or json.loads(named[1]) != body["model"]:
            return _anew(body, model, ask_usage)
        text = raw[: named.start(1)] + json.dumps(model).encode() + raw[named.end(1) :]
    if ask_usage:
        if b"\0" in raw or "stream_options" in body:
            return _anew(body, model, ask_usage)
        start = text.index(b"{") + 1
        text = text[:start] + _ASK_USAGE + text[start:]
    return text


def _anew(body: Mapping[str, Any], model: str | None, ask_usage: bool) -> bytes:
    changed = {**body}
    if model is not None:
        changed["model"] = model
    if ask_usage:
        changed["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return json.dumps(changed).encode()
