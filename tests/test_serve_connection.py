"""How an answer leaves: its head with its first bytes, and never later than it has to."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

from serve.connection import HeadWithBody
from serve.listen import listening
from serve.server import server_config
from serve.settings import ServeSettings

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True


async def test_a_head_and_its_body_are_one_write():
    wire = Wire()
    out = HeadWithBody(wire, asyncio.get_running_loop())
    for part in (HEAD, b"ok", b"more"):
        out.write(part)
    assert wire.writes == [HEAD + b"ok", b"more"]
    await asyncio.sleep(0)
    assert len(wire.writes) == 2


async def test_a_head_alone_leaves_at_the_end_of_the_turn():
    wire = Wire()
    out = HeadWithBody(wire, asyncio.get_running_loop())
    out.write(HEAD)
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [HEAD]
    out.write(b"ok")
    assert wire.writes == [HEAD, b"ok"]


async def test_closing_loses_no_head():
    wire = Wire()
    out = HeadWithBody(wire, asyncio.get_running_loop())
    out.write(HEAD)
    out.close()
    assert (wire.writes, wire.closed) == ([HEAD], True)


async def test_a_client_has_the_head_before_a_body_that_takes_its_time(tmp_path):
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"late"})

    plan = {"model_name": "support", "variants": [{"name": "a", "checkpoint": "a"}]}
    settings = ServeSettings.model_validate({"plan": plan, "home": tmp_path})
    server = uvicorn.Server(server_config(settings, app))
    with listening("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            go_on.set()
            assert await asyncio.wait_for(reader.read(), 2) == b"4\r\nlate\r\n0\r\n\r\n"
            writer.close()
        finally:
            server.should_exit = True
            await serving
