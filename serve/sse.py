"""Server-sent events of an engine: split at blank lines, looked at, and put together again.

Nothing here parses each token: a block is searched for a few marks, and only the block
that carries the usage or an error is read as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

END = b"\n\n"
MAX_HELD_BYTES = 2**20

# A quotation mark inside a JSON string is escaped, so these marks cannot be in an answer's text.
FINISH = re.compile(rb'"finish_reason":\s*"(\w+)"')
CONTENT = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments)":\s*"[^"]')
ERROR = re.compile(rb'\A\s*data:\s*\{\s*"error"')
USAGE_ONLY = re.compile(rb'"choices":\s*\[\]')


class Events:
    """Cuts a byte stream into blocks of whole events, however the network cut it."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """All whole events up to now, b"" where none is whole yet.

        An event that grows past MAX_HELD_BYTES is handed on in pieces.
        """
        data = self._held + chunk if self._held else chunk
        if data.endswith(END):
            self._held = b""
            return data
        cut = data.rfind(END)
        if cut < 0:
            if len(data) > MAX_HELD_BYTES:
                self._held = b""
                return data
            self._held = data
            return b""
        self._held = data[cut + 2 :]
        return data[: cut + 2]

    def rest(self) -> bytes:
        """What came after the last whole event."""
        held, self._held = self._held, b""
        return held


def payloads(data: bytes) -> Iterable[bytes]:
    """The data lines of whole events, ``[DONE]`` left out."""
    for line in data.split(b"\n"):
        if line.startswith(b"data:"):
            payload = line[5:].strip()
            if payload and payload != b"[DONE]":
                yield payload


def parse(payload: bytes) -> dict[str, Any]:
    """The payload's JSON object; an empty one where it is no object."""
    try:
        value = json.loads(payload)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def without_usage_event(block: bytes) -> bytes:
    """The block without the event that carries only the usage, for clients that did not ask."""
    kept = []
    for event in block.split(END):
        line = event.strip()
        if line.startswith(b"data:") and USAGE_ONLY.search(line):
            body = parse(line[5:])
            if body.get("choices") == [] and body.get("usage"):
                continue
        kept.append(event)
    return END.join(kept)


def usage_in(data: bytes) -> tuple[int | None, int | None]:
    """Prompt and completion tokens of the last usage in whole events."""
    tokens: tuple[int | None, int | None] = (None, None)
    for payload in payloads(data):
        if b'"usage"' in payload:
            usage = parse(payload).get("usage")
            if isinstance(usage, dict):
                tokens = (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    return tokens


def usage_of(answer: dict[str, Any]) -> tuple[int | None, int | None]:
    """Prompt and completion tokens of a whole answer."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None, None
    return _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")


def _count(usage: dict[str, Any], key: str) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) else None


def streamed_text(data: bytes) -> str:
    """What the first choice of a chat stream said."""
    said = []
    for payload in payloads(data):
        for choice in parse(payload).get("choices") or ():
            if choice.get("index", 0) == 0:
                said.append((choice.get("delta") or {}).get("content") or "")
    return "".join(said)


def whole_text(answer: dict[str, Any]) -> str:
    """What the first choice of a chat answer said."""
    for choice in answer.get("choices") or ():
        if choice.get("index", 0) == 0:
            return str((choice.get("message") or {}).get("content") or "")
    return ""
