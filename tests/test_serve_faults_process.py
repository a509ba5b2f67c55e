"""What breaks around a whole server, a process of its own, and what is lost: nothing that was
acknowledged."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import signal
import sqlite3
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.home import Home
from registry.ledger import Ledger
from tests.serving import free_port
from tests.serving_engine import PATIENCE_SECONDS
from tests.serving_process import Process, server_process


@pytest.fixture
def server(hallmarked_checkpoint: Path, home: Home) -> Iterator[Process]:
    with server_process(home.root, hallmarked_checkpoint, free_port()) as made:
        yield made


def eventually(holds: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
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
    return page(server, "/metrics")


def page(server: Process, path: str) -> bytes:
    with server.send(path) as answer:
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


def test_a_full_disk_costs_records_that_are_counted_and_no_answer(server):
    """A disk is full for this process where no file of its may grow."""
    pid, whole = server.gateway.pid, resource.RLIM_INFINITY
    with Ledger(Home.at(server.home).ledger_url) as ledger:
        before = server.ask()["id"]
        eventually(lambda: ledger.request(before))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, whole))
        ids = [server.ask()["id"] for _ in range(20)]
        with pytest.raises(urllib.error.HTTPError) as refused:  # so it was not acknowledged
            server.send("/v1/feedback", {"request_id": before, "kind": "thumb", "value": 1})
        assert refused.value.code in (500, 503)
        eventually(lambda: b'"degraded"' in page(server, "/healthz"))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (whole, whole))
        after = server.ask()["id"]
        eventually(lambda: ledger.request(after))
        lost = sum(ledger.request(one) is None for one in ids)
    assert f"hallmark_records_dropped_total {lost:.1f}".encode() in metrics(server)


def test_a_server_started_again_after_kill_9_answers(server, hallmarked_checkpoint):
    server.gateway.kill()
    server.gateway.wait()
    with server_process(server.home, hallmarked_checkpoint, free_port()) as again:
        assert again.ask()["choices"]
