"""The gateway's HTTP client: one answer to one question, and no connection kept that said more."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import engine_client
from serve.engine_client import Connection, EngineClient, UpstreamFailure

Script = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HELLO = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello"
)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;name=value\r\n \r\n6\r\nworld!\r\n0\r\n\r\n"
)


async def question(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.splitlines() if line.startswith(b"Content-Length")
    )
    return head + await reader.readexactly(length)


@contextlib.asynccontextmanager
async def engine(
    folder: Path, script: Script, *, silence_seconds: float = 5.0, answer_seconds: float = 30.0
) -> AsyncIterator[tuple[EngineClient, list[int]]]:
    """A client of an engine that runs a script for each connection, and their numbers."""
    seen: list[int] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(len(seen))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await script(seen[-1], reader, writer)
        writer.close()

    path = folder / "engine.sock"
    server = await asyncio.start_unix_server(connected, path)

    async def connect(made: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_unix_connection(made, str(path)))[1]

    client = EngineClient(
        connect, silence_seconds=silence_seconds, answer_seconds=answer_seconds,
        headers={"Authorization": "Bearer secret"},
    )  # fmt: skip
    try:
        yield client, seen
    finally:
        client.close()
        server.close()
        await asyncio.sleep(0.01)  # the scripts hear of it


async def ask(client: EngineClient) -> bytes:
    async with await client.ask("POST", "/v1/completions", b"{}", {"X-Request-Id": "1"}) as answer:
        assert answer.status == 200
        return await answer.read()


async def answers_always(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
    while True:
        await question(reader)
        writer.write(HELLO)


async def test_a_connection_is_kept_for_the_next_question(tmp_path):
    async with engine(tmp_path, answers_always) as (client, seen):
        assert [await ask(client) for _ in range(3)] == [b"hello"] * 3
        assert seen == [0]
        assert await asyncio.gather(*(ask(client) for _ in range(3))) == [b"hello"] * 3
        assert seen == [0, 1, 2]


async def test_a_question_is_sent_as_http_says(tmp_path):
    asked = []

    async def listen(number, reader, writer) -> None:
        asked.append(await question(reader))
        writer.write(HELLO)

    async with (
        engine(tmp_path, listen) as (client, _),
        await client.ask("POST", "/v1/x", b"{}", {"X-Request-Id": "7"}) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "text/plain")
    assert asked == [
        b"POST /v1/x HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer secret\r\n"
        b"X-Request-Id: 7\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
    ]


async def test_a_header_cannot_break_out_of_its_line(tmp_path):
    async with engine(tmp_path, answers_always) as (client, seen):
        with pytest.raises(ValueError, match="tracestate"):
            await client.ask("POST", "/", b"", {"tracestate": "a\r\nAuthorization: Bearer b"})
        assert seen == []


@pytest.mark.parametrize("after", [HELLO.replace(b"hello", b"WRONG"), b"WRONG"])
@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_what_nobody_asked_for_reaches_nobody(tmp_path, after, pause):
    async def says_more(number, reader, writer) -> None:
        while True:
            await question(reader)
            writer.write(HELLO)
            if number == 0:
                await asyncio.sleep(pause)
                writer.write(after)

    async with engine(tmp_path, says_more) as (client, seen):
        assert await ask(client) == b"hello"
        await asyncio.sleep(0.1)
        assert [await ask(client) for _ in range(2)] == [b"hello"] * 2
        assert seen == [0, 1]


async def test_an_answer_left_unread_closes_its_connection(tmp_path):
    closed = asyncio.Event()

    async def streams(number, reader, writer) -> None:
        await question(reader)
        writer.write(CHUNKED[:-20])
        await reader.read()
        closed.set()

    async with engine(tmp_path, streams) as (client, _):
        async with await client.ask("POST", "/", b"", {}) as answer:
            assert await answer.readany() == b"hello"
        await asyncio.wait_for(closed.wait(), 1)


async def test_who_gives_up_waiting_closes_the_connection(tmp_path):
    closed = asyncio.Event()

    async def hangs(number, reader, writer) -> None:
        await question(reader)
        await reader.read()
        closed.set()

    async with engine(tmp_path, hangs) as (client, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.ask("POST", "/", b"", {})
        await asyncio.wait_for(closed.wait(), 1)


async def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure(tmp_path):
    async def closes_when_asked_again(number, reader, writer) -> None:
        await question(reader)
        writer.write(HELLO)
        await question(reader)

    async with engine(tmp_path, closes_when_asked_again) as (client, seen):
        assert [await ask(client) for _ in range(3)] == [b"hello"] * 3
        assert seen == [0, 1, 2]


async def test_an_engine_that_hangs_up_is_asked_twice_and_no_more(tmp_path):
    async def hangs_up(number, reader, writer) -> None:
        await question(reader)

    async with engine(tmp_path, hangs_up) as (client, seen):
        with pytest.raises(UpstreamFailure, match="hung up before it answered") as failure:
            await ask(client)
        assert (failure.value.reason, failure.value.status, seen) == ("connect", 503, [0, 1])


async def test_an_engine_that_is_not_there_is_said_to_be(tmp_path):
    async with engine(tmp_path, answers_always) as (client, _):
        (tmp_path / "engine.sock").unlink()
        with pytest.raises(UpstreamFailure, match="not there") as failure:
            await ask(client)
        assert (failure.value.reason, failure.value.status) == ("connect", 503)


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, b"hello"),
        (CHUNKED, b"hello world!"),
    ],
)
async def test_every_way_to_end_a_body_is_understood(tmp_path, said, body):
    async def says(number, reader, writer) -> None:
        await question(reader)
        writer.write(said)

    async with engine(tmp_path, says) as (client, _):
        assert await ask(client) == body


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "answered no HTTP"),
        (HELLO[:-2], "broke off its answer"),
        (HELLO[:20], "broke off its answer"),
        (CHUNKED[:-5], "broke off its answer"),
        (CHUNKED.replace(b"6\r\nworld!", b"zz\r\nworld!"), "answered no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20, "headers have no end"),
        (HELLO.replace(b"200 OK", b"101 Switching Protocols\r\nUpgrade: x"), "answered no HTTP"),
    ],
)
async def test_what_is_no_whole_answer_is_a_failure(tmp_path, said, reason):
    async def says(number, reader, writer) -> None:
        await question(reader)
        writer.write(said)
        await writer.drain()

    async with engine(tmp_path, says) as (client, _):
        with pytest.raises(UpstreamFailure, match=reason) as failure:
            await ask(client)
        assert failure.value.reason == "stream"


async def test_silence_and_slowness_have_their_limits(tmp_path):
    async def trickles(number, reader, writer) -> None:
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b".")
            await asyncio.sleep(0.05)
            if number == 1:
                await reader.read()

    async with engine(tmp_path, trickles, silence_seconds=0.3, answer_seconds=0.6) as (client, _):
        for reason in ("took longer than it may", "fell silent"):
            with pytest.raises(UpstreamFailure, match=reason) as failure:
                await asyncio.wait_for(ask(client), 2)
            assert (failure.value.reason, failure.value.status) == ("timeout", 504)


async def test_a_body_that_nobody_reads_makes_the_engine_wait(tmp_path):
    sent = 0

    async def pours(number, reader, writer) -> None:
        nonlocal sent
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**26)
        for _ in range(2**26 // 2**16):
            writer.write(bytes(2**16))
            await writer.drain()
            sent += 2**16

    async with (
        engine(tmp_path, pours, silence_seconds=0.4) as (client, _),
        await client.ask("POST", "/", b"", {}) as answer,
    ):
        await asyncio.sleep(1)  # longer than the engine may be silent: it is not at fault
        assert sent < 2**22
        assert len(await answer.read()) == 2**26


async def test_a_connection_that_nobody_uses_is_closed_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_client, "KEEP_ALIVE_SECONDS", 0.2)
    async with engine(tmp_path, answers_always) as (client, seen):
        await ask(client)
        await asyncio.sleep(0.1)
        await ask(client)
        assert seen == [0]
        await asyncio.sleep(0.5)
        await ask(client)
        assert seen == [0, 1]


class Wire:
    """A transport that keeps nothing but whether it was closed."""

    closed = False

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@given(cuts=st.lists(st.integers(1, len(CHUNKED) - 1), max_size=8), twice=st.booleans())
def test_however_an_answer_is_cut_it_is_the_same(cuts: list[int], twice: bool) -> None:
    async def scenario() -> tuple[bytes, bool]:
        wire = Wire()

        async def connect(made: Callable[[], Connection]) -> Connection:
            connection = made()
            connection.connection_made(wire)  # type: ignore[arg-type]
            return connection

        client = EngineClient(connect, silence_seconds=9)
        connection = await client._opened()
        answer = connection.ask(b"")
        said = CHUNKED * (2 if twice else 1)
        borders = [0, *sorted(set(cuts)), len(said)]
        for start, end in itertools.pairwise(borders):
            connection.data_received(said[start:end])
        await answer.head()
        body = await answer.read()
        connection.release(answer)
        return body, wire.closed

    assert asyncio.run(scenario()) == (b"hello world!", twice)
