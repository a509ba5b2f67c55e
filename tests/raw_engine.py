"""An engine that writes whatever bytes a test wants, on a Unix socket behind a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.serving_fake import Bench, bench

# Writes an answer to a request; the connection is closed after it.
Script = Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]]

EVENTS_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"yes"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
)


@dataclass
class RawEngine:
    """``script`` may be changed between requests."""

    script: Script
    asked: list[dict[str, Any]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    cut_off: int = 0
    """Connections that the gateway closed while an answer was being written."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                body = json.loads(await reader.readexactly(length))
                self.heads.append(head)
                self.asked.append(body)
                await self.script(body, writer)
                await writer.drain()
                break
        except asyncio.IncompleteReadError:
            pass
        except ConnectionError:
            self.cut_off += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def gateway_over(script: Script, **changes: Any) -> AsyncIterator[tuple[Bench, RawEngine]]:
    """A gateway whose variant a is the raw engine; variant b is the ordinary fake."""
    engine = RawEngine(script)
    with tempfile.TemporaryDirectory(prefix="hm-raw-") as folder:
        path = Path(folder) / "raw.sock"
        server = await asyncio.start_unix_server(engine.serve, path, backlog=1024)
        async with bench(**changes) as gateway:
            gateway.standing.upstreams["a"].socket = path
            yield gateway, engine
        server.close()


def chat(said: str = "hi", **more: object) -> dict[str, object]:
    return {"model": "support@a", "messages": [{"role": "user", "content": said}], **more}


async def ask(
    gateway: Bench, body: object, path: str = "/v1/chat/completions", **headers: str
) -> tuple[int, Any, bytes]:
    """Status, headers and bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(gateway.root + path, data=data, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


def in_flight(gateway: Bench, variant: str = "a") -> int:
    return gateway.standing.upstreams[variant].in_flight


async def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline:
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")
