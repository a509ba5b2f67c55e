"""Clients that do not read, or leave early: bounded memory, nobody else waits, slots come back."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.raw_engine import (
    DONE,
    EVENTS_HEAD,
    ROLE,
    STOP,
    USAGE,
    WORD,
    ask,
    chat,
    eventually,
    gateway_over,
    in_flight,
)

NUM_READERS = 500
EVENT = b'data: {"choices":[{"delta":{"content":"' + b"x" * 8000 + b'"}}]}\n\n'


class Endless:
    """Streams until it is cut off, and counts what it could write."""

    def __init__(self) -> None:
        self.written = 0

    async def __call__(self, body, writer) -> None:
        writer.write(EVENTS_HEAD + ROLE)
        while True:
            writer.write(EVENT)
            await writer.drain()
            self.written += len(EVENT)


def open_slow(root: str) -> socket.socket:
    """A connection that has asked for a stream, and whose window is closed soon."""
    address = urlsplit(root)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # Small segments, as on a network: the loopback's own of 64 KiB let the kernel hold megabytes.
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    client.connect((address.hostname, address.port))
    body = json.dumps(chat(stream=True)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


async def test_500_readers_who_stop_reading_hold_nobody_up_and_are_cut_off():
    endless = Endless()
    limits = {"max_in_flight": NUM_READERS + 10, "reader_timeout_seconds": 3.0}
    async with gateway_over(endless, **limits) as (gateway, engine):
        readers = []
        for _ in range(NUM_READERS):
            readers.append(open_slow(gateway.root))
            await asyncio.sleep(0)
        await eventually(lambda: len(engine.asked) == NUM_READERS, 60)
        began = time.perf_counter()
        status, _, _ = await ask(gateway, chat(model="support@b"))
        assert status == 200
        assert time.perf_counter() - began < 5
        await eventually(lambda: in_flight(gateway) == 0, 60)
        await eventually(lambda: engine.cut_off == NUM_READERS, 60)
        assert endless.written / NUM_READERS < 2 * 2**20  # backpressure reached the engine
        for reader in readers:
            reader.close()


async def test_a_reader_who_goes_on_in_time_is_not_cut_off():
    size = 600_000

    async def long(body, writer) -> None:
        writer.write(EVENTS_HEAD + ROLE)
        for _ in range(size // len(EVENT)):
            writer.write(EVENT)
            await writer.drain()
        writer.write(b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')

    async with gateway_over(long, reader_timeout_seconds=5.0) as (gateway, _):
        client = open_slow(gateway.root)
        client.setblocking(False)
        got = b""
        loop = asyncio.get_running_loop()
        while not got.endswith(b"0\r\n\r\n"):
            await asyncio.sleep(0.02)
            piece = await asyncio.wait_for(loop.sock_recv(client, 65_536), 30)
            assert piece, "it was cut off"
            got += piece
        client.close()
        assert len(got) > size // len(EVENT) * len(EVENT)


@pytest.mark.parametrize(("last", "status"), [(DONE, 200), (USAGE, 499)])
async def test_who_hangs_up_at_done_has_its_answer_and_who_does_so_before_has_left(last, status):
    async def ends_late(body, writer) -> None:
        writer.write(EVENTS_HEAD + ROLE + WORD + STOP + USAGE)
        if last == DONE:
            writer.write(DONE)
        await writer.drain()
        await asyncio.sleep(0.2 if last == DONE else 30)

    asked = chat(stream=True, stream_options={"include_usage": True})
    async with gateway_over(ends_late) as (gateway, _):
        async with (
            aiohttp.ClientSession() as session,
            session.post(gateway.root + "/v1/chat/completions", json=asked) as answer,
        ):
            heard = b""
            while not heard.endswith(last):
                heard += await answer.content.readany()
        row = await gateway.row(answer.headers["x-request-id"])
        assert (row.status, row.finish_reason) == (status, "stop")
        assert (row.prompt_tokens, row.completion_tokens) == (3, 2)
        assert in_flight(gateway) == 0
