"""How large and how slow a request may be, over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from serve.errors import ApiError
from serve.limits import read_body
from tests.serving_fake import Bench, bench

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
CHAT = json.dumps({"model": "support@a", "messages": [{"role": "user", "content": "hi"}]}).encode()


async def exchange(gateway: Bench, *pieces: bytes | float) -> bytes:
    """What comes back until the connection is closed; a number is a pause in seconds."""
    host, port = gateway.root.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    reading = asyncio.create_task(read_all(reader))
    try:
        with contextlib.suppress(ConnectionError):  # closed while we were still writing
            for piece in pieces:
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                else:
                    await asyncio.sleep(piece)
        return await asyncio.wait_for(reading, 8)
    finally:
        reading.cancel()
        writer.close()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(65_536):
            data += block
    return data


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def code_of(answer: bytes) -> str:
    code: str = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
    return code


async def test_a_head_over_the_limit_is_431_whole_or_in_pieces():
    async with bench(max_header_bytes=2000) as gateway:
        long = HEAD + b"x-filler: " + b"a" * 3000 + b"\r\n\r\n"
        answer = await exchange(gateway, long)
        assert (status_of(answer), code_of(answer)) == (431, "headers_too_large")
        many = [HEAD, *(b"x-%d: y\r\n" % number for number in range(500))]
        assert status_of(await exchange(gateway, *many)) == 431
        endless = [HEAD + b"x-filler: ", *[b"a" * 100] * 40]
        assert status_of(await exchange(gateway, *endless, 0.05)) == 431
        line = b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n"
        assert status_of(await exchange(gateway, line)) == 431
        assert gateway.engines["a"].bodies == []


async def test_a_large_body_in_the_heads_packet_does_not_count_as_head():
    async with bench(max_header_bytes=2000) as gateway:
        body = CHAT[:-1] + b', "metadata": {"filler": "' + b"a" * 20_000 + b'"}}'
        request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        assert status_of(await exchange(gateway, request)) == 200


async def test_a_head_that_does_not_arrive_is_408():
    async with bench(header_timeout_seconds=0.3) as gateway:
        assert status_of(await exchange(gateway, HEAD)) == 408
        trickle = [piece for byte in HEAD for piece in (bytes([byte]), 0.03)]
        answer = await exchange(gateway, *trickle[:40])
        assert (status_of(answer), code_of(answer)) == (408, "request_timeout")


async def test_a_connection_that_says_nothing_is_closed():
    async with bench(header_timeout_seconds=0.3) as gateway:
        assert status_of(await exchange(gateway)) == 408


async def test_a_body_that_does_not_arrive_is_408_and_leaves_nothing_behind():
    async with bench(body_timeout_seconds=0.3) as gateway:
        answer = await exchange(gateway, HEAD + b"Content-Length: 100\r\n\r\n" + CHAT[:50])
        assert (status_of(answer), code_of(answer)) == (408, "request_timeout")
        assert gateway.value("hallmark_in_flight_requests", variant="a") == 0


async def test_two_requests_on_one_connection_are_both_answered():
    async with bench(header_timeout_seconds=0.5, body_timeout_seconds=0.5) as gateway:
        one = HEAD + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT
        last = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(CHAT) + CHAT
        answer = await exchange(gateway, one, 0.8, last[:60], 0.1, last[60:])
        assert answer.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9\r\n\r\n"])
async def test_what_is_no_http_is_400_in_openais_shape(garbage):
    async with bench() as gateway:
        answer = await exchange(gateway, garbage + b"\r\n\r\n")
        assert (status_of(answer), code_of(answer)) == (400, "invalid_http")
        assert b"nosniff" in answer


async def announced(length: bytes, body: bytes, limit: int) -> bytes:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return await read_body({"headers": [(b"content-length", length)]}, receive, limit)


@pytest.mark.parametrize("length", [b"9" * 30, b"9" * 5000, b"10"])
async def test_an_announced_length_over_the_limit_is_refused_before_it_is_read(length):
    with pytest.raises(ApiError, match="larger than 5 bytes") as caught:
        await announced(length, b"1", 5)
    assert caught.value.status == 413


@pytest.mark.parametrize("length", [b"5", b"0", b"five", b""])
async def test_what_was_announced_is_never_more_than_a_hint(length):
    assert await announced(length, b"12345", 5) == b"12345"
    with pytest.raises(ApiError, match="larger than 5 bytes"):
        await announced(length, b"123456", 5)
