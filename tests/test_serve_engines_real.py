"""What happens to a real engine while people ask it: replaced, killed, told to end.

One gateway for all of it, in the order below: four starts of vLLM instead of seven.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from commands.gate import promote, rollback
from commands.session import Session
from registry.checkpoint import read_manifest
from registry.home import Home
from tests.serving import RunningServer
from tests.test_serve_engines_traps import direct, engine_sockets

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.at(tmp_path_factory.mktemp("following") / "home")


@pytest.fixture(scope="module")
def session(home: Home) -> Session:
    return Session.open(home.root, None)


@pytest.fixture(scope="module")
def folders(
    home: Home, two_hallmarked_checkpoints: Callable[[Home], dict[str, Path]]
) -> dict[str, Path]:
    return two_hallmarked_checkpoints(home)


@pytest.fixture(scope="module")
def server(
    session: Session, folders: dict[str, Path], start_gateway: Callable[..., Any]
) -> Iterator[RunningServer]:
    """A variant that follows the alias champion."""
    promote(session, str(folders["a"]), alias="champion", reason="first")
    environ = {"HALLMARK_ENGINE_EXTRA_ARGS": "--shutdown-timeout,30"}  # so that it drains
    with start_gateway(session.home, {"v": Path("champion")}, environ=environ) as made:
        yield made


def ask(server: RunningServer, **more: Any) -> Any:
    """The open answer. Raises urllib's errors."""
    body = {"model": "support", "prompt": "order", "max_tokens": 4, "user": "u", **more}
    request = urllib.request.Request(
        server.base_url + "/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=120)


def long_stream(server: RunningServer, num_tokens: int) -> Any:
    return ask(server, max_tokens=num_tokens, ignore_eos=True, stream=True)


def engine_group(server: RunningServer) -> int:
    with urllib.request.urlopen(server.root + "/admin/variants", timeout=30) as answer:
        [row] = json.load(answer)["variants"]
    return int(row["pid"])


def processes_of(group: int) -> dict[int, str]:
    """What is alive in the process group: its words by process id."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,pgid=,stat=,args=", "-ww"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=3) for line in listed.splitlines()]
    return {
        int(pid): " ".join(words)
        for pid, leader, state, *words in rows
        if leader == str(group) and not state.startswith("Z")
    }


def eventually(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def until_answered(server: RunningServer) -> list[tuple[int, str | None]]:
    """Status and Retry-After of the refusals before the first answer."""
    refusals: list[tuple[int, str | None]] = []

    def answered() -> bool:
        try:
            with ask(server) as answer:
                return bool(json.load(answer)["choices"])
        except urllib.error.HTTPError as error:
            refusals.append((error.code, error.headers["Retry-After"]))
            return False

    eventually(answered, 300)
    return refusals


def test_promote_and_rollback_under_load_lose_no_request(server, session, folders):
    done = threading.Event()
    answers: tuple[list[str], list[str]] = ([], [])
    failures: list[OSError] = []

    def client(mine: list[str]) -> None:
        while not done.is_set():
            try:
                with ask(server) as answer:
                    answer.read()
                    mine.append(answer.headers["x-hallmark-checkpoint"])
            except OSError as error:
                failures.append(error)

    def answered_by(digest: str) -> None:
        seen = [len(mine) for mine in answers]
        eventually(
            lambda: all(digest in mine[num:] for mine, num in zip(answers, seen, strict=True)), 60
        )

    a, b = (read_manifest(folders[name]).weights_digest for name in "ab")
    clients = [threading.Thread(target=client, args=(mine,)) for mine in answers]
    for one in clients:
        one.start()
    try:
        answered_by(a)
        assert promote(session, str(folders["b"]), alias="champion", reason="release") == 0
        answered_by(b)
        assert rollback(session, alias="champion", reason="complaints") == 0
        answered_by(a)
    finally:
        done.set()
        for one in clients:
            one.join()
    assert failures == []
    for mine in answers:
        assert [digest for digest, _ in groupby(mine)] == [a, b, a]


def test_1_a_draining_engine_is_503_for_us_and_killed_mid_stream_an_error_event(server):
    """Trap 1: its health says yes meanwhile, and it answers 200 with no text and "abort"."""
    group, path = engine_group(server), engine_sockets(server)["v"]
    [core] = [pid for pid, words in processes_of(group).items() if "EngineCore" in words]
    with long_stream(server, 900) as answer:
        first = answer.read(64)
        os.killpg(group, signal.SIGTERM)
        tokens = [10, 11, 12]  # its tokenizer is gone already, and a text would get 500

        def draining() -> bool:
            asked = {"model": "support", "prompt": tokens, "max_tokens": 1}
            status, said = direct(path, "POST", "/v1/completions", asked)
            return status == 200 and said["choices"][0]["finish_reason"] == "abort"

        eventually(draining, 10)
        assert direct(path, "GET", "/health")[0] == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(server, prompt=tokens)
        assert refused.value.code == 503
        assert refused.value.headers["Retry-After"]
        os.kill(core, signal.SIGKILL)
        text = (first + answer.read()).decode()
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert "error" in json.loads(events[-2])
    assert events[-1] == "[DONE]"
    refusals = until_answered(server)
    assert refusals
    assert all(status in (502, 503) and after for status, after in refusals)
    with urllib.request.urlopen(server.root + "/metrics", timeout=30) as answer:
        series = answer.read()
    assert b'hallmark_engine_restarts_total{variant="v"} 1.0' in series
    for reason in ("abort", "stream"):
        expected = f'hallmark_upstream_failures_total{{reason="{reason}",variant="v"}} 1.0'
        assert expected.encode() in series


def test_sigterm_lets_a_running_stream_finish_and_leaves_no_process(server):
    """The last one to have this gateway, which ends."""
    until_answered(server)
    group = engine_group(server)
    with long_stream(server, 300) as answer:
        first = answer.read(64)
        server.process.send_signal(signal.SIGTERM)
        text = (first + answer.read()).decode()
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    assert events[-1] == "[DONE]"
    assert server.process.wait(timeout=60) == 0
    assert processes_of(group) == {}
