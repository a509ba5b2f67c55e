"""The yardstick, with no feature at all: python -m loadtests.bare_relay SOCKET PORT"""

import sys
from typing import Any

import aiohttp
import uvicorn


class Relay:
    session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if self.session is None:
            connector = aiohttp.UnixConnector(sys.argv[1], limit=0)
            self.session = aiohttp.ClientSession(connector=connector)
        headers = {"Content-Type": "application/json"}
        url = "http://engine" + scope["path"]
        async with self.session.post(url, data=body, headers=headers) as answer:
            heads = [(b"content-type", answer.headers["Content-Type"].encode())]
            if length := answer.headers.get("Content-Length"):
                heads.append((b"content-length", length.encode()))
            await send({"type": "http.response.start", "status": answer.status, "headers": heads})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        Relay(), port=int(sys.argv[2]), loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", server_header=False,
    )  # fmt: skip
