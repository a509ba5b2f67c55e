"""What breaks, and what a client and an operator then see: against real processes."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import sqlite3
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from registry.home import Home
from registry.ledger import Ledger
from serve.engine_process import EngineProcess
from serve.settings import VariantPlan
from tests.serving import free_port
from tests.serving_engine import PATIENCE_SECONDS, gateway, rig
from tests.serving_process import Process, server_process

CHAT = {"model": "support", "messages": [{"role": "user", "content": "hi"}], "user": "u1"}
STREAM = CHAT | {"stream": True}


def saying(text: str, body: dict[str, Any] = CHAT) -> dict[str, Any]:
    return body | {"messages": [{"role": "user", "content": text}]}


async def test_an_engine_killed_mid_stream_is_an_error_event_503_and_then_an_answer(
    monkeypatch, tmp_path
):
    async with (
        rig(monkeypatch, tmp_path, begin=False) as made,
        gateway(made) as (root, _),
        aiohttp.ClientSession() as http,
    ):
        await made.up()
        made.door.open.clear()  # no restart before we have looked
        async with http.post(root + "/v1/chat/completions", json=saying("40", STREAM)) as answer:
            assert answer.status == 200
            first = await answer.content.readany()
            os.kill(made.pids()[-1], signal.SIGKILL)
            text = (first + await answer.read()).decode()
        events = [line for line in text.splitlines() if line.startswith("data: ")]
        assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "upstream_failed"
        assert events[-1] == "data: [DONE]"
        async with http.post(root + "/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 503  # at once: nobody is asked who is not there
            assert int(answer.headers["Retry-After"]) >= 1
            assert (await answer.json())["error"]["code"] in ("not_ready", "upstream_failed")
        made.door.open.set()
        await made.up()
        async with http.post(root + "/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200
        assert made.value("hallmark_upstream_failures_total", reason="stream") == 1
        assert made.value("hallmark_engine_restarts_total") == 1


async def test_of_two_engines_one_may_die_and_no_later_request_is_lost(monkeypatch, tmp_path):
    plans = [VariantPlan(name="a", checkpoint=tmp_path / "one", replicas=2)]
    async with (
        rig(monkeypatch, tmp_path, variants=plans, begin=False) as made,
        gateway(made) as (root, _),
        aiohttp.ClientSession() as http,
    ):
        await made.up()
        os.kill(made.pids("a-2")[-1], signal.SIGKILL)
        statuses = []
        for number in range(40):  # of many units, so that both engines are wanted
            body = CHAT | {"user": f"u{number}"}
            async with http.post(root + "/v1/chat/completions", json=body) as answer:
                statuses.append(answer.status)
        assert set(statuses) == {200}


async def test_an_engine_that_drains_behind_our_back_is_a_failure_and_no_empty_answer(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("DRAIN_SECONDS", "3")
    async with (
        rig(monkeypatch, tmp_path, begin=False) as made,
        gateway(made) as (root, _),
        aiohttp.ClientSession() as http,
    ):
        await made.up()
        monkeypatch.delenv("DRAIN_SECONDS")
        os.kill(made.pids()[-1], signal.SIGTERM)  # it goes on saying 200, with no text
        await asyncio.sleep(0.2)
        async with http.post(root + "/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 503
        assert made.value("hallmark_upstream_failures_total", reason="abort") == 1
        await made.until(lambda: len(made.pids()) == 2)
        await made.up()


async def test_a_variant_is_draining_before_its_engine_hears_of_it(monkeypatch, tmp_path):
    states = []
    stop = EngineProcess.stop

    async def seen(process: EngineProcess, timeout_seconds: float) -> None:
        states.append([one.state for one in made.supervisor.replicas.values()])
        await stop(process, timeout_seconds)

    async with rig(monkeypatch, tmp_path, variants="ab") as made:
        await made.up()
        monkeypatch.setattr(EngineProcess, "stop", seen)
        await made.supervisor.stop()
    assert states[:2] == [["draining", "draining"]] * 2


async def test_a_burst_of_ten_times_the_capacity_gets_quick_refusals_and_no_slow_200s(
    monkeypatch, tmp_path
):
    limits = {"max_in_flight": 4, "max_queued": 4, "queue_seconds": 60.0}
    async with (
        rig(monkeypatch, tmp_path, begin=False, **limits) as made,
        gateway(made) as (root, ledger),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        await made.up()
        statuses: Counter[int] = Counter()
        enough = tmp_path / "enough"

        async def one() -> None:
            body = saying(f"hold {enough}")
            async with http.post(root + "/v1/chat/completions", json=body) as answer:
                await answer.read()
                statuses[answer.status] += 1
                if answer.status == 429:
                    assert answer.headers["Retry-After"] == "1"

        clients = [asyncio.create_task(one()) for _ in range(40)]
        # 4 are being answered, 4 wait, and 32 are refused before anybody has an answer.
        await made.until(lambda: statuses.total() == 32)
        assert statuses == {429: 32}
        enough.touch()
        await asyncio.gather(*clients)
        assert statuses == {429: 32, 200: 8}
        assert made.supervisor.replicas["a"].in_flight == 0
        await made.until(lambda: len(ledger.rows) == 8)


async def test_a_crossed_answer_is_recorded_outside_the_experiment(monkeypatch, tmp_path):
    async with (
        rig(monkeypatch, tmp_path, variants="ab", begin=False, plan={"cross_to": "b"}) as made,
        gateway(made) as (root, ledger),
        aiohttp.ClientSession() as http,
    ):
        await made.up()
        made.door.open.clear()  # it stays away for a while
        os.kill(made.pids("a")[-1], signal.SIGKILL)
        await made.until(lambda: made.a.state != "up")
        crossed = None
        for number in range(20):
            body = CHAT | {"user": f"u{number}"}
            async with http.post(root + "/v1/chat/completions", json=body) as answer:
                assert (answer.status, answer.headers["x-hallmark-variant"]) == (200, "b")
            await made.until(lambda: len(ledger.rows) == number + 1)  # noqa: B023 - awaited here
            if row := next((r for r in ledger.rows.values() if r.excluded == "crossed"), None):
                crossed = row
                break
        assert crossed is not None
        assert crossed.variant == "b"


@pytest.fixture
def server(hallmarked_checkpoint: Path, home: Home) -> Iterator[Process]:
    with server_process(home.root, hallmarked_checkpoint, free_port()) as made:
        yield made


def eventually(holds: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_sigterm_finishes_running_streams_refuses_new_requests_and_leaves_nothing(server, tmp_path):
    engine, refused = server.engine_pid, tmp_path / "refused"
    texts: list[str] = []
    body = {"model": "support", "prompt": f"hold {refused}", "stream": True}

    def stream() -> None:
        with server.send("/v1/completions", body) as answer:
            texts.append(answer.read().decode())

    running = threading.Thread(target=stream)
    running.start()
    eventually(lambda: b'hallmark_in_flight_requests{variant="a"} 1.0' in metrics(server))
    server.gateway.send_signal(signal.SIGTERM)
    refusals: list[int] = []

    def refuses() -> bool:
        try:
            server.ask()
        except urllib.error.HTTPError as error:
            refusals.append(error.code)  # by who had not heard yet that it is over
        except OSError:
            refusals.append(0)  # nobody listens any more
        return bool(refusals)

    eventually(refuses)
    assert set(refusals) <= {0, 503}
    assert running.is_alive()
    refused.touch()
    running.join()
    assert texts[0].count(" word") == 5
    assert texts[0].endswith("data: [DONE]\n\n")
    assert server.gateway.wait(timeout=60) == 0
    eventually(lambda: gone(engine))
    assert not list((server.home / "servers").glob("*.json"))


def metrics(server: Process) -> bytes:
    with server.send("/metrics") as answer:
        data: bytes = answer.read()
        return data


def test_feedback_that_was_acknowledged_survives_kill_9_of_the_gateway(server):
    engine = server.engine_pid
    acknowledged: list[str] = []

    def say() -> None:
        while True:
            said = {"request_id": server_request, "kind": "thumb", "value": 1}
            try:
                with server.send("/v1/feedback", said) as answer:
                    acknowledged.append(json.load(answer)["feedback_id"])
            except (OSError, http.client.HTTPException, ValueError):
                return  # killed while it answered: nothing was promised

    server_request = server.ask()["id"]
    clients = [threading.Thread(target=say) for _ in range(4)]
    for client in clients:
        client.start()
    eventually(lambda: len(acknowledged) >= 40)
    server.gateway.kill()
    for client in clients:
        client.join()
    with Ledger(Home.at(server.home).ledger_url) as ledger:
        kept = {one.feedback_id for one in ledger.feedback(server_request)}
    lost = set(acknowledged) - kept
    assert lost == set()
    with contextlib.closing(sqlite3.connect(server.home / "ledger.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    eventually(lambda: gone(engine))  # its engine went with it


def test_answers_go_on_while_somebody_locks_the_ledger_and_their_records_come_later(server):
    with contextlib.closing(sqlite3.connect(server.home / "ledger.db", timeout=10)) as other:
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        ids = [server.ask()["id"] for _ in range(20)]  # the lock is held all the while
        time.sleep(1)  # and the writer meets it
        other.execute("ROLLBACK")
    with Ledger(Home.at(server.home).ledger_url) as ledger:
        eventually(lambda: all(ledger.request(one) for one in ids))
    assert b"hallmark_records_dropped_total 0.0" in metrics(server)


def test_a_server_started_again_after_kill_9_answers(server, hallmarked_checkpoint):
    server.gateway.kill()
    server.gateway.wait()
    with server_process(server.home, hallmarked_checkpoint, free_port()) as again:
        assert again.ask()["choices"]
