"""An upstream that costs almost nothing: vLLM's answers, made beforehand, over raw HTTP/1.1.

    python -m loadtests.mock_upstream --socket PATH --port PORT

It answers on a Unix socket and on a TCP port. A request with ``"stream": true`` gets
NUM_CHUNKS events with content, each written in a turn of the event loop of its own, as an
engine writes them; others get one JSON answer. Only what the gateways need is understood:
requests with a Content-Length, one after the other on a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from typing import cast

import uvloop

NUM_CHUNKS = 100
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream":\s*true')
_USAGE = re.compile(rb'"include_usage":\s*true')


def _json() -> bytes:
    message = {"role": "assistant", "content": "Your order 10042 is on its way. " * 4}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 12, "completion_tokens": 32, "total_tokens": 44}
    body = {"id": "chatcmpl-mock", "object": "chat.completion", "created": 1, "model": "support"}
    data = json.dumps({**body, "choices": [choice], "usage": usage}, separators=(",", ":")).encode()
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return (head % len(data)).encode() + data


def _event(choices: list[object], **more: object) -> bytes:
    body = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1}
    fields = {**body, "model": "support", "choices": choices, **more}
    return _chunk(b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> list[object]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


ANSWER = _json()
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
CHUNKS = (
    _event(_delta({"role": "assistant", "content": ""})),
    *(_event(_delta({"content": f" word{number}"})) for number in range(NUM_CHUNKS)),
    _event(_delta({"content": ""}, "stop")),
)
USAGE = _event([], usage={"prompt_tokens": 12, "completion_tokens": 100, "total_tokens": 112})
STREAM_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Mock(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's derives from nothing
        self._loop = asyncio.get_running_loop()
        self._held = b""
        self._paused = False
        self._next: tuple[int, bool] | None = None  # of a stream that waits for its reader

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (head := self._held.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._held, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._held) < end:
                return
            body, self._held = self._held[head + 4 : end], self._held[end:]
            if _STREAM.search(body):
                self._transport.write(STREAM_HEAD)
                self._stream(0, _USAGE.search(body) is not None)
            else:
                self._transport.write(ANSWER)

    def _stream(self, number: int, usage: bool) -> None:
        if self._transport.is_closing():
            return
        if self._paused:
            self._next = number, usage
        elif number < len(CHUNKS):
            self._transport.write(CHUNKS[number])
            self._loop.call_soon(self._stream, number + 1, usage)
        else:
            self._transport.write(USAGE + STREAM_END if usage else STREAM_END)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._next is not None:
            waiting, self._next = self._next, None
            self._stream(*waiting)


async def run(socket: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    over_unix = await loop.create_unix_server(Mock, socket, backlog=2048)
    over_tcp = await loop.create_server(Mock, "127.0.0.1", port, backlog=2048)
    async with over_unix, over_tcp:
        await asyncio.gather(over_unix.serve_forever(), over_tcp.serve_forever())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvloop.run(run(given.socket, given.port))
