"""What passes through from an engine: events split at blank lines, and marks in their bytes.

Nothing here parses each token: bytes are searched for a few marks, and only the tail that
carries the usage, or an error, is read as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

END = b"\n\n"
# https://html.spec.whatwg.org/multipage/server-sent-events.html: lines may end in CRLF too.
ENDS = (END, b"\r\n\r\n")
MAX_HELD_BYTES = 2**20

# A quotation mark inside a JSON string is escaped, so these marks cannot be in an answer's text.
FINISH = re.compile(rb'"finish_reason":\s*"(\w+)"')
ABORT = re.compile(rb'"finish_reason":\s*"abort"')
CONTENT = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments)":\s*"[^"]')
ERROR = re.compile(rb'(?:\A|\n)\s*data:\s*(\{\s*"error".*)')
USAGE_ONLY = re.compile(rb'"choices":\s*\[\]')
_USAGE = re.compile(rb'"usage":\s*(?=\{)')
_DECODER = json.JSONDecoder()


class Events:
    """Cuts a byte stream into blocks of whole events, however the network cut it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """All whole events up to now, b"" where none is whole yet.

        An event that grows past MAX_HELD_BYTES is handed on in pieces.
        """
        held = self._held
        if not held and chunk.endswith(ENDS):
            return chunk
        unseen = max(0, len(held) - 3)  # an end may lie across the border
        held += chunk
        ends = [at + len(end) for end in ENDS if (at := held.rfind(end, unseen)) >= 0]
        if not ends and len(held) <= MAX_HELD_BYTES:
            return b""
        cut = max(ends) if ends else len(held)
        block = bytes(held[:cut])
        del held[:cut]
        return block

    def rest(self) -> bytes:
        """What came after the last whole event."""
        held = bytes(self._held)
        self._held.clear()
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
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def without_usage_event(block: bytes) -> bytes:
    """The block without the event that carries only the usage, for clients that did not ask."""
    end = END if END in block else ENDS[1]
    kept = []
    for event in block.split(end):
        line = event.strip()
        if line.startswith(b"data:") and USAGE_ONLY.search(line):
            body = parse(line[5:])
            if body.get("choices") == [] and body.get("usage"):
                continue
        kept.append(event)
    return end.join(kept)


def usage_in(data: bytes) -> tuple[int | None, int | None]:
    """Prompt and completion tokens of the last usage in an answer, whole or streamed.

    Only what follows the mark is read, so the cost does not grow with the answer. Embeddings
    have no completion tokens: None.
    """
    found = _USAGE.match(data, at) if (at := data.rfind(b'"usage"')) >= 0 else None
    if found is None:
        return None, None
    try:
        usage, _ = _DECODER.raw_decode(data[found.end() :].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
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
