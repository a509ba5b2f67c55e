"""How `hallmark promote` and `rollback` reach the servers of their home that are running.

A server listens on a Unix socket in a folder that only its user may enter, and says where in
``HOME/servers/PID.json``. POST /admin/promote there with ``variant``, ``checkpoint`` and, for
an adapter, ``base`` answers once the new engine has taken over; GET /admin/engines shows all.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import Field, ValidationError

from registry.home import Home
from registry.records import Record, UserError, canonical_json, first_problem, write_atomically
from serve.engines import Supervisor
from serve.settings import ServeSettings

MAX_BODY_BYTES = 64 * 1024
ANSWER_SECONDS = 10.0  # in which a server says at least that it is there
SHUTDOWN_SECONDS = 1.0  # a promotion that is under way when the server ends is given up


class ControlError(UserError):
    """A running server would not, or could not, take the checkpoint over."""


class Running(Record):
    """A server that is running: how to reach it, and which alias each variant follows."""

    host: str
    pid: int
    socket: Path
    model_name: str
    follows: dict[str, str] = Field(default_factory=dict)


class Promotion(Record):
    """What a server is asked to take over. Paths are as it sees them."""

    variant: str
    checkpoint: Path
    base: Path | None = None


def servers_folder(home: Home) -> Path:
    return home.root / "servers"


@contextlib.asynccontextmanager
async def controlled(settings: ServeSettings, engines: Supervisor) -> AsyncIterator[None]:
    """Listen while the server runs. Nothing of it is left afterwards."""

    async def promote(request: web.Request) -> web.Response:
        try:
            asked = Promotion.model_validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"error": first_problem(error)}, status=400)
        try:
            before, after = await engines.promote(asked.variant, asked.checkpoint, asked.base)
        except UserError as error:
            return web.json_response({"error": str(error)}, status=409)
        return web.json_response({"variant": asked.variant, "before": before, "after": after})

    async def show(_: web.Request) -> web.Response:
        return web.json_response({"variants": engines.describe()})

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/admin/promote", promote)
    app.router.add_get("/admin/engines", show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    path = engines.control / "control.sock"
    note = servers_folder(settings.house) / f"{socket.gethostname()}-{os.getpid()}.json"
    try:
        await web.UnixSite(runner, str(path)).start()
        running = Running(
            host=socket.gethostname(),
            pid=os.getpid(),
            socket=path,
            model_name=settings.plan.model_name,
            follows={plan.name: plan.follows for plan in settings.plan.variants if plan.follows},
        )
        write_atomically(note, canonical_json(running))
        yield
    finally:
        note.unlink(missing_ok=True)
        await runner.cleanup()


def running_servers(home: Home) -> Iterator[Running]:
    """Those of this machine. What a killed one left here is cleared away.

    Raises ControlError for one that is there and does not answer.
    """
    for path in sorted(servers_folder(home).glob("*.json")):
        try:
            server = Running.model_validate_json(path.read_bytes())
            if server.host != socket.gethostname():
                continue  # its home is shared, its socket is not
            ask(server, "GET", "/admin/engines")
        except (ValidationError, OSError):
            path.unlink(missing_ok=True)
            continue
        yield server


def promote_in(server: Running, promotion: Promotion) -> Mapping[str, Any]:
    """Wait until the server has flipped. Raises ControlError with its reason where it did not."""
    try:
        status, answer = ask(server, "POST", "/admin/promote", canonical_json(promotion))
    except OSError as error:
        raise ControlError(
            f"the server with process id {server.pid} ended while it was asked to promote; "
            "start it again with `hallmark serve`"
        ) from error
    if status != 200:
        raise ControlError(
            f"the running server keeps variant {promotion.variant} as it is: "
            f"{answer.get('error', f'it answered {status}')}"
        )
    return answer


def ask(
    server: Running, method: str, path: str, body: bytes | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON. Starting an engine takes minutes: a POST may take as long as it likes
    while the server answers others. Raises ControlError where it does not."""
    connection = http.client.HTTPConnection("control")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(ANSWER_SECONDS)
    try:
        connection.sock.connect(str(server.socket))
        connection.request(method, path, body)
        while method == "POST" and not select.select([connection.sock], [], [], ANSWER_SECONDS)[0]:
            ask(server, "GET", "/admin/engines")
        response = connection.getresponse()
        answer = json.loads(response.read())
        return response.status, answer if isinstance(answer, dict) else {}
    except TimeoutError as error:
        raise ControlError(
            f"the server with process id {server.pid} has said nothing for {ANSWER_SECONDS:g} s; "
            "see its log, and end it before you ask again (kill -9 where it does not listen)"
        ) from error
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError("the server broke off") from error
    finally:
        connection.close()
