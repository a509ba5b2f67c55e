"""The proxy that most people write first: FastAPI with httpx, as their documentations show it.

python -m loadtests.fastapi_proxy --socket PATH --port PORT
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

URL = "http://engine/v1/chat/completions"
UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=None)


def create_app(socket: str) -> FastAPI:
    app = FastAPI()
    transport = httpx.AsyncHTTPTransport(uds=socket, limits=UNLIMITED)
    client = httpx.AsyncClient(transport=transport, timeout=60)

    async def relayed(body: Any) -> AsyncIterator[bytes]:
        async with client.stream("POST", URL, json=body) as answer:
            async for chunk in answer.aiter_raw():
                yield chunk

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        if body.get("stream"):
            return StreamingResponse(relayed(body), media_type="text/event-stream")
        answer = await client.post(URL, json=body)
        return JSONResponse(answer.json(), answer.status_code)

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvicorn.run(
        create_app(given.socket), port=given.port, loop="uvloop", http="httptools", ws="none",
        access_log=False, log_level="warning", server_header=False,
    )  # fmt: skip
