"""One streamed chat answer, timed as its reader sees it.

Locust's own OpenAIUser reads the whole body before it stops its clock, so its time to
first token is the time to the last. Here the clock stops at the first event that carries
content: status line, headers and the opening event with only a role are not an answer.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests


class StreamFailure(Exception):
    """The answer did not arrive whole: what a user would call an error."""


@dataclass(frozen=True)
class Answer:
    """Times in seconds; ``gaps_seconds`` lie between one content event and the next."""

    request_id: str | None
    variant: str | None
    text: str
    ttft_seconds: float
    gaps_seconds: tuple[float, ...]
    total_seconds: float


def stream_chat(
    session: requests.Session,
    url: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    due_at: float | None = None,
    timeout_seconds: float = 120.0,
) -> Answer:
    """Post ``body`` with ``stream`` set and read the events as they come.

    ``due_at`` (of ``time.perf_counter``) is when the request should have started: under
    open-loop arrivals a late start is the system's delay too and counts. Raises
    StreamFailure for another status than 200, an error event, ``finish_reason`` "abort"
    (an engine that is shutting down ends streams so, with status 200), an answer without
    content, or an end without ``[DONE]``.
    """
    start = time.perf_counter() if due_at is None else due_at
    arrivals: list[float] = []
    pieces: list[str] = []
    try:
        with session.post(
            url,
            json={**body, "stream": True},
            headers=dict(headers),
            stream=True,
            timeout=timeout_seconds,
        ) as response:
            if response.status_code != 200:
                raise StreamFailure(f"status {response.status_code}: {response.text[:200]}")
            for event in _events(response):
                piece = _content(event)
                if piece:
                    arrivals.append(time.perf_counter())
                    pieces.append(piece)
            end = time.perf_counter()
            request_id = response.headers.get("x-request-id")
            variant = response.headers.get("x-hallmark-variant")
    except requests.RequestException as error:
        raise StreamFailure(f"{type(error).__name__}: {error}") from error
    if not arrivals:
        raise StreamFailure("the answer has no content")
    gaps = tuple(later - earlier for earlier, later in itertools.pairwise(arrivals))
    return Answer(request_id, variant, "".join(pieces), arrivals[0] - start, gaps, end - start)


def _content(event: Mapping[str, Any]) -> str:
    if "error" in event:
        raise StreamFailure(f"error event: {str(event['error'])[:200]}")
    piece = ""
    for choice in event.get("choices", []):
        if choice.get("finish_reason") == "abort":
            raise StreamFailure("the engine aborted the answer")
        piece += choice.get("delta", {}).get("content") or ""
    return piece


def _events(response: requests.Response) -> Iterator[dict[str, Any]]:
    """The JSON of each ``data:`` line up to ``[DONE]``, as soon as its bytes are here."""
    for line in _lines(response):
        if not line.startswith(b"data:"):
            continue
        data = line[len(b"data:") :].strip()
        if data == b"[DONE]":
            return
        try:
            yield json.loads(data)
        except json.JSONDecodeError as error:
            raise StreamFailure(f"an event is not JSON: {data[:200]!r}") from error
    raise StreamFailure("the stream ended without [DONE]")


def _lines(response: requests.Response) -> Iterator[bytes]:
    # read1 returns what has arrived; iter_lines would wait for a full block.
    rest = b""
    while piece := response.raw.read1(65_536):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest
