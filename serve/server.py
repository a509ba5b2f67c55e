"""How uvicorn is run, in one process or in each of several workers."""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from serve.connection import connection_class
from serve.listen import BACKLOG
from serve.settings import ServeSettings

GC_THRESHOLDS = (20_000, 10, 10)
"""For gc.set_threshold: hundreds of requests in flight are not searched again for each few."""


class Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: the process decides what a signal means.

    What is there once it has started stays until the end, so the garbage collector never looks
    at it again, which took a fifth of the CPU time.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_config(settings: ServeSettings, app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=connection_class(settings),
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
    )
