"""Another checkpoint takes over from a running one, and no request is lost over it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from commands.gate import promote, rollback
from commands.session import Session
from commands.switch import SwitchError, ensure_golden
from registry.checkpoint import read_manifest
from registry.home import Home
from serve.admission import AdmissionError
from serve.control import (
    ControlError,
    Promotion,
    Running,
    controlled,
    promote_in,
    running_servers,
)
from serve.engines import PromotionError
from serve.golden import GoldenError
from serve.keeper import EngineError
from serve.settings import VariantPlan
from tests.conftest import hallmark_copy
from tests.serving_engine import BROKEN, ENGINE, Rig, digest_in, gateway, golden, rig
from tests.test_serve_engines_adapters import make_adapter

CHAT = {"model": "support", "messages": [{"role": "user", "content": "hi"}], "user": "u1"}


def new(made: Rig, name: str = "two", weights: float = 2.0) -> Path:
    """A checkpoint folder whose engine says what was stored of it."""
    folder = made.settings.home / name
    made.weights[name] = weights
    made.goldens[digest_in(folder)] = [golden(digest_in(folder), weights)]
    return folder


async def test_promotion_under_load_loses_no_request_and_ends_the_old_engine(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path, begin=False) as made, gateway(made) as (root, _):
        await made.up()
        folder, old = new(made), made.pids()[-1]
        statuses: list[int] = []
        done = asyncio.Event()

        async def client(http: aiohttp.ClientSession, seen: list[str]) -> None:
            while not done.is_set():
                async with http.post(root + "/v1/chat/completions", json=CHAT) as answer:
                    statuses.append(answer.status)
                    seen.append(answer.headers["x-hallmark-checkpoint"])
                    await answer.read()

        async def stream(http: aiohttp.ClientSession) -> str:
            """Begins before the flip and ends after it."""
            body = CHAT | {"stream": True, "messages": [{"role": "user", "content": "60"}]}
            async with http.post(root + "/v1/chat/completions", json=body) as answer:
                return (await answer.read()).decode()

        async with aiohttp.ClientSession() as http:
            orders: list[list[str]] = [[] for _ in range(4)]
            clients = [asyncio.create_task(client(http, seen)) for seen in orders]
            streaming = asyncio.create_task(stream(http))
            await made.until(lambda: made.a.in_flight > 0 and all(orders))
            assert await made.supervisor.promote("a", folder) == ("sha256:one-a", "sha256:two")
            await made.until(lambda: all(seen.count("sha256:two") >= 5 for seen in orders))
            done.set()
            await asyncio.gather(*clients)
            text = await streaming
        assert set(statuses) == {200}
        for seen in orders:  # each client: first one-a, then two, and never back
            assert seen == sorted(seen)
            assert {seen[0], seen[-1]} == {"sha256:one-a", "sha256:two"}
        assert text.count(" word") == 60
        assert text.endswith("data: [DONE]\n\n")
        await made.until(lambda: not Path(f"/proc/{old}").exists())
        info = {"checkpoint": "sha256:two", "experiment": "spring"}
        assert made.value("hallmark_variant_info", **info) == 1
        assert made.value("hallmark_variant_info", **info | {"checkpoint": "sha256:one-a"}) == 0
        assert [one.checkpoint for one in made.noted[-1]] == [folder]


async def test_rollback_is_the_same_path_backwards(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        new(made, "one-a", 1.0)
        await made.supervisor.promote("a", new(made))
        made.door.checks.clear()
        assert await made.supervisor.promote("a", tmp_path / "one-a") == (
            "sha256:two",
            "sha256:one-a",
        )
        assert made.door.checks == ["a"]  # hashed afresh on the way back too
        assert made.starts == ["one-a", "two", "one-a"]


async def test_an_engine_that_says_something_else_than_its_weights_did_is_not_let_in(
    monkeypatch, tmp_path
):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        folder = new(made)
        made.weights["two"] = 2.01  # 0.05 nats per token away from what was stored
        with pytest.raises(GoldenError, match="it was not let in"):
            await made.supervisor.promote("a", folder)
        assert made.supervisor.fleet.checkpoints["a"] == "sha256:one-a"
        assert made.a.state == "up"
        assert not Path(f"/proc/{made.pids()[-1]}").exists()


async def test_without_golden_log_probabilities_nothing_is_flipped(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        with pytest.raises(GoldenError, match="hallmark gate"):
            await made.supervisor.promote("a", tmp_path / "two")
        assert made.supervisor.fleet.checkpoints["a"] == "sha256:one-a"


async def test_a_refused_or_broken_checkpoint_leaves_the_old_engine_as_it_was(
    monkeypatch, tmp_path
):
    async with rig(monkeypatch, tmp_path, [ENGINE, BROKEN]) as made:
        await made.up()
        with pytest.raises(EngineError, match="Cannot load this model"):
            await made.supervisor.promote("a", new(made))
        made.door.refusal = "variant 'a' is refused: it has no hallmark"
        with pytest.raises(AdmissionError, match="no hallmark"):
            await made.supervisor.promote("a", new(made))
        assert made.starts == ["one-a", "two"]  # what is refused is never started
        assert made.a.state == "up"
        assert not made.supervisor.failure.done()


async def test_promoting_what_answers_already_starts_nothing(monkeypatch, tmp_path):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        assert await made.supervisor.promote("a", tmp_path / "one-a") == (
            "sha256:one-a",
            "sha256:one-a",
        )
        assert made.starts == ["one-a"]


async def test_an_unknown_variant_and_engines_elsewhere_say_what_to_do(monkeypatch, tmp_path):
    plans = [VariantPlan(name="a", checkpoint=tmp_path / "one", engines=("http://127.0.0.1:9",))]
    async with rig(monkeypatch, tmp_path, variants=plans, begin=False) as made:
        with pytest.raises(PromotionError, match="no variant named 'z' is served; have a"):
            await made.supervisor.promote("z", tmp_path / "two")
        with pytest.raises(PromotionError, match="hallmark engine"):
            await made.supervisor.promote("a", tmp_path / "two")


async def test_an_adapter_is_replaced_with_its_neighbours_untouched(monkeypatch, tmp_path):
    base = tmp_path / "base"
    plans = [
        VariantPlan(name="b", checkpoint=base),
        VariantPlan(name="x", checkpoint=tmp_path / "x", base=base),
    ]
    async with rig(monkeypatch, tmp_path, variants=plans) as made:
        await made.up()
        made.goldens["sha256:x2"] = [golden("sha256:x2")]
        await made.supervisor.promote("x", tmp_path / "x2", base)
        assert dict(made.supervisor.fleet.checkpoints) == {"b": "sha256:base", "x": "sha256:x2"}
        with pytest.raises(PromotionError, match="restart `hallmark serve`"):
            await made.supervisor.promote("x", tmp_path / "x3", tmp_path / "other")


@pytest.fixture
def two(make_tiny_checkpoint: Callable[..., Path], home: Home) -> tuple[Session, dict[str, Path]]:
    """A home whose champion is the checkpoint old, and another that is gated."""
    folders = {
        name: hallmark_copy(
            make_tiny_checkpoint(f"tiny-{name}", seed=seed), home.checkpoints / name, home
        )
        for name, seed in (("old", 1), ("new", 2))
    }
    session = Session.open(home.root, None)
    promote(session, str(folders["old"]), alias="champion", reason="first")
    return session, folders


async def test_promote_and_rollback_change_a_running_server_and_the_alias_together(
    monkeypatch, tmp_path, two
):
    session, folders = two
    plans = [VariantPlan(name="a", checkpoint=folders["old"], follows="champion")]
    async with (
        rig(monkeypatch, session.home.root, variants=plans) as made,
        controlled(made.settings, made.supervisor),
    ):
        await made.up()
        made.door.digest = digest(folders["new"])
        [server] = await asyncio.to_thread(lambda: list(running_servers(session.home)))
        assert (server.pid, server.follows) == (os.getpid(), {"a": "champion"})
        # No golden log-probabilities fit an engine that is no model: it is refused, and the
        # alias stays with the server.
        for folder in folders.values():
            ensure_golden(session, folder, read_manifest(folder))
        made.goldens |= {
            read_manifest(folder).weights_digest: session.ledger.golden(
                read_manifest(folder).weights_digest
            )
            for folder in folders.values()
        }
        with pytest.raises(SwitchError, match="champion stays where it was"):
            await in_thread(session, promote, str(folders["new"]), reason="release")
        assert session.ledger.alias("champion") == digest(folders["old"])
        made.goldens |= {one: [golden(one)] for one in made.goldens}
        assert await in_thread(session, promote, str(folders["new"]), reason="release") == 0
        assert session.ledger.alias("champion") == digest(folders["new"])
        assert made.supervisor.fleet.checkpoints["a"] == digest(folders["new"])
        made.door.digest = digest(folders["old"])
        assert await in_thread(session, rollback, reason="complaints") == 0
        assert session.ledger.alias("champion") == digest(folders["old"])
        assert made.supervisor.fleet.checkpoints["a"] == digest(folders["old"])
    assert not list((session.home.root / "servers").iterdir())


def digest(folder: Path) -> str:
    return str(read_manifest(folder).weights_digest)


async def in_thread(session: Session, command: Callable[..., int], *given: str, reason: str) -> int:
    return await asyncio.to_thread(command, session, *given, alias="champion", reason=reason)


@pytest.mark.parametrize("stuck", [False, True])
def test_where_one_server_refuses_those_before_it_are_changed_back(monkeypatch, two, stuck):
    session, folders = two
    servers = [
        Running(host="here", pid=pid, socket=Path("/nonexistent"), model_name="support")
        for pid in (1, 2)
    ]
    asked = []

    def answer(server: Running, promotion: Promotion) -> dict[str, str]:
        asked.append((server.pid, promotion.checkpoint))
        if server.pid == 2 or (stuck and promotion.checkpoint == folders["old"]):
            raise ControlError(f"no room in {server.pid}")
        return {"before": digest(folders["old"])}

    monkeypatch.setattr("commands.switch.followers", lambda *_: [(one, "a") for one in servers])
    monkeypatch.setattr("serve.control.promote_in", answer)
    session.ledger.record_golden(golden(digest(folders["new"])))
    told = "; process 1 could not be changed back: no room in 1" if stuck else ""
    with pytest.raises(SwitchError, match=f"no room in 2{told}; champion stays where it was"):
        promote(session, str(folders["new"]), alias="champion", reason="release")
    assert asked == [(1, folders["new"]), (2, folders["new"]), (1, folders["old"])]
    assert session.ledger.alias("champion") == digest(folders["old"])


def test_an_adapter_is_proven_by_what_was_measured_upon_its_base(two):
    session, folders = two
    old = read_manifest(folders["old"])
    adapter = make_adapter(session.home.checkpoints / "adapter", old, session.home)
    for folder in (folders["old"], adapter):
        ensure_golden(session, folder, read_manifest(folder))
    [of_base], [of_adapter] = (
        session.ledger.golden(read_manifest(folder).weights_digest)
        for folder in (folders["old"], adapter)
    )
    assert of_base.differences(of_adapter.texts, of_base.tolerance) != []


def test_what_a_killed_server_left_behind_is_cleared_away(home):
    note = home.root / "servers" / "1.json"
    note.parent.mkdir(parents=True)
    body = {"host": socket.gethostname(), "pid": 1, "socket": "/nonexistent/s", "model_name": "m"}
    note.write_text(json.dumps(body))
    other = note.with_name("2.json")  # of a machine that shares the home
    other.write_text(json.dumps(body | {"host": "elsewhere.example"}))
    assert list(running_servers(home)) == []
    assert (note.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize("probed", [False, True], ids=["at once", "while it promotes"])
def test_a_server_that_hangs_is_named_and_not_waited_for(home, tmp_path, monkeypatch, probed):
    monkeypatch.setattr("serve.control.ANSWER_SECONDS", 0.2)
    server = Running(host="here", pid=77, socket=tmp_path / "s", model_name="support")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(server.socket))
        silent.listen()
        note = home.root / "servers" / "77.json"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(server.model_copy(update={"host": socket.gethostname()}).model_dump_json())
        ask = partial(promote_in, server, Promotion(variant="a", checkpoint=tmp_path))
        look = partial(next, running_servers(home))
        with pytest.raises(ControlError, match=r"process id 77 has said nothing for 0\.2 s"):
            (ask if probed else look)()
        assert note.exists()
