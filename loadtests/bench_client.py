"""The load of the gateway's benchmark: connections that ask again as soon as they are answered.

    python -m loadtests.bench_client --port 8000 --connections 32 --seconds 3 [--stream]

A process of its own on raw sockets, so that it costs the gateway beside it as little as can be.
Prints one JSON object: answers a second, and milliseconds until the answer's end and until its
first event. Counted is what ends between the warm-up and the end; where that is less than two
answers a connection, it goes on until it is, or MAX_SECONDS have passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

MAX_SECONDS = 20.0
LOOK_SECONDS = 0.25
NUM_USERS = 64
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED_END = b"\r\n0\r\n\r\n"
_TAIL_BYTES = 512


@dataclass
class Tally:
    """Of all connections together; times in seconds, of ``time.perf_counter``."""

    answers: int = 0
    failures: int = 0
    first_failure: str = ""
    ended: list[tuple[float, float, float]] = field(default_factory=list)
    """When an answer ended, how long it took, and how long its first event took."""
    wanted: int | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, began: float, first: float) -> None:
        now = time.perf_counter()
        self.ended.append((now, now - began, first - began))
        self.answers += 1
        if self.wanted is not None and self.answers >= self.wanted:
            self.done.set()

    def fail(self, why: str) -> None:
        self.failures += 1
        self.first_failure = self.first_failure or why
        if self.failures > 1000:
            self.done.set()


class Connection(asyncio.Protocol):
    """Sends a request, reads its answer to the end, and begins again."""

    def __init__(self, requests: Sequence[bytes], number: int, tally: Tally) -> None:
        self._requests = requests
        self._number = number
        self._tally = tally

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's derives from nothing
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._tally.done.is_set():
            self._tally.fail(f"connection lost: {exc}")

    def _ask(self) -> None:
        self._head = b""
        self._left: int | None = None  # bytes of the body; None while the head is read
        self._first: float | None = None
        self._tail = b""
        self._number += 1
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._number % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._head, 0, end)
            self._left = int(length[1]) if length else -1
            data = self._head[end + 4 :]
        if self._first is None and data:
            self._first = time.perf_counter()
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        if self._left >= 0:
            self._left -= len(data)
            if self._left == 0:
                self._end()
        elif self._tail.endswith(_CHUNKED_END):
            self._end()

    def _end(self) -> None:
        whole = b"[DONE]" in self._tail or b"completion_tokens" in self._tail
        if self._head.startswith(b"HTTP/1.1 200") and whole and self._first is not None:
            self._tally.add(self._began, self._first)
        else:
            self._tally.fail((self._head[:200] + b" ... " + self._tail).decode("latin-1"))
        if not self._tally.done.is_set():
            self._ask()


def requests(
    host: str, key: str, *, stream: bool, model: str = "support", max_tokens: int | None = None
) -> list[bytes]:
    """One request of each of NUM_USERS users."""
    made = []
    for user in range(NUM_USERS):
        body: dict[str, object] = {
            "model": model,
            "messages": [{"role": "user", "content": "Where is my order 10042?"}],
            "user": f"user-{user}",
        }
        if stream:
            body["stream"] = True
        if max_tokens is not None:
            body |= {"max_tokens": max_tokens, "ignore_eos": True}
        data = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        made.append(head.encode() + data)
    return made


async def load(
    address: tuple[str, int] | str,
    asked: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    warmup_seconds: float,
    num_requests: int | None = None,
) -> dict[str, float | int | str | None]:
    """``address`` is host and port, or the path of a Unix socket."""
    loop = asyncio.get_running_loop()
    tally = Tally(wanted=num_requests)
    began = time.perf_counter()
    transports = []
    for number in range(connections):

        def connection(number: int = number) -> Connection:
            return Connection(asked, number, tally)

        if isinstance(address, str):
            transport, _ = await loop.create_unix_connection(connection, address)
        else:
            transport, _ = await loop.create_connection(connection, *address)
        transports.append(transport)
    if num_requests is None:
        await asyncio.sleep(warmup_seconds)
        began, before = time.perf_counter(), tally.answers
        await asyncio.sleep(seconds)
        while tally.answers - before < 2 * connections and not tally.done.is_set():
            if time.perf_counter() - began > MAX_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)
    else:
        await tally.done.wait()
    lasted = time.perf_counter() - began
    tally.done.set()
    for transport in transports:
        transport.abort()
    return summary([one for one in tally.ended if one[0] >= began], lasted, tally)


def summary(
    ended: Sequence[tuple[float, float, float]], seconds: float, tally: Tally
) -> dict[str, float | int | str | None]:
    took = sorted(one[1] * 1000 for one in ended)
    first = sorted(one[2] * 1000 for one in ended)
    return {
        "answers": len(ended),
        "seconds": seconds,
        "rate": len(ended) / seconds,
        "p50_ms": percentile(took, 50),
        "p99_ms": percentile(took, 99),
        "first_p50_ms": percentile(first, 50),
        "first_p99_ms": percentile(first, 99),
        "failures": tally.failures,
        "first_failure": tally.first_failure,
    }


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The smallest sample that ``percent`` of all do not exceed; None without samples."""
    return ordered[max(math.ceil(percent / 100 * len(ordered)) - 1, 0)] if ordered else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    parser.add_argument("--socket", help="a Unix socket instead of a port")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--requests", type=int, help="end after so many instead of by the clock")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--key", default="none")
    parser.add_argument("--model", default="support")
    parser.add_argument("--max-tokens", type=int, help="exactly so many, for a real engine")
    given = parser.parse_args()
    address = given.socket or ("127.0.0.1", given.port)
    found = uvloop.run(
        load(
            address,
            requests(
                "127.0.0.1", given.key, stream=given.stream, model=given.model,
                max_tokens=given.max_tokens,
            ),
            connections=given.connections, seconds=given.seconds, warmup_seconds=given.warmup,
            num_requests=given.requests,
        )
    )  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
