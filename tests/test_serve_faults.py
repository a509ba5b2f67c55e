"""What breaks, and what a client and an operator then see: against real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest

from registry.ledger import Ledger
from serve import keeper
from serve.engine_process import EngineProcess
from serve.settings import VariantPlan
from serve.upstream import Upstream
from tests.serving_engine import gateway, rig

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


async def test_an_engine_that_hangs_over_its_requests_is_ended_and_started_again(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(keeper, "STOP_SECONDS", 0.5)
    async with (
        rig(monkeypatch, tmp_path, begin=False) as made,
        gateway(made) as (root, _),
        aiohttp.ClientSession() as http,
    ):
        await made.up()
        body = saying(f"hold {tmp_path / 'never'}", STREAM)
        async with http.post(root + "/v1/chat/completions", json=body) as answer:
            monkeypatch.setattr(keeper, "PROBE_TIMEOUT_SECONDS", 0.3)
            os.kill(made.pids()[-1], signal.SIGSTOP)
            assert "upstream_failed" in await answer.text()
        monkeypatch.setattr(keeper, "PROBE_TIMEOUT_SECONDS", 60.0)
        await made.until(lambda: len(made.pids()) == 2)
        await made.up()


async def test_an_engine_whose_tokens_grow_is_at_work_and_not_asked_for_another(
    monkeypatch, tmp_path
):
    said, looks, probes = tmp_path / "said", [], []
    tokens_done = keeper.tokens_done

    async def more(_: Upstream) -> float:
        looks.append(made.a.in_flight)
        return len(looks)

    async def probe(*_: object) -> bool:
        probes.append(made.a.in_flight)
        return True

    async with (
        rig(monkeypatch, tmp_path, begin=False) as made,
        gateway(made) as (root, _),
        aiohttp.ClientSession() as http,
    ):
        await made.up()
        monkeypatch.setattr(keeper, "tokens_done", more)
        monkeypatch.setattr(keeper, "gives_a_token", probe)
        body = saying(f"hold {said}", STREAM)
        async with http.post(root + "/v1/chat/completions", json=body) as answer:
            await made.until(lambda: len(looks) == 3)
            said.touch()
            await answer.read()
        await made.until(lambda: len(probes) > 0)
        assert set(looks) == {1}
        assert set(probes) == {0}
        assert await tokens_done(made.a) == 3 + 5  # as the engine's /metrics counts them


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


async def test_a_postgresql_that_is_restarted_costs_no_answer_and_what_was_lost_is_counted(
    monkeypatch, tmp_path, postgres
):
    with Ledger(postgres("restarted")) as ledger:
        async with (
            rig(monkeypatch, tmp_path, begin=False) as made,
            gateway(made, ledger) as (root, _),
            aiohttp.ClientSession() as http,
        ):
            await made.up()
            done = asyncio.Event()
            ids: list[str] = []
            acknowledged: list[str] = []

            async def client() -> None:
                while not done.is_set():
                    async with http.post(root + "/v1/chat/completions", json=CHAT) as answer:
                        assert answer.status == 200
                        ids.append(answer.headers["x-request-id"])
                    said = {"request_id": ids[-1], "kind": "thumb", "value": 1}
                    async with http.post(root + "/v1/feedback", json=said) as answer:
                        if answer.ok:
                            acknowledged.append((await answer.json())["feedback_id"])

            asking = asyncio.create_task(client())
            await made.until(lambda: len(acknowledged) > 2 or asking.done())
            await asyncio.to_thread(postgres.restart)
            seen = len(acknowledged)
            await made.until(lambda: len(acknowledged) > seen + 2 or asking.done())
            done.set()
            await asking
        kept = {one.feedback_id for each in ids for one in ledger.feedback(each)}
        assert set(acknowledged) - kept == set()
        lost = sum(ledger.request(one) is None for one in ids)
        assert made.series.registry.get_sample_value("hallmark_records_dropped_total") == lost


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_a_wall_clock_that_jumps_a_day_changes_no_answer(monkeypatch, tmp_path, jump):
    wall = time.time
    async with (
        rig(monkeypatch, tmp_path, begin=False) as made,
        gateway(made) as (root, ledger),
        aiohttp.ClientSession() as http,
    ):
        await made.up()
        async with http.post(root + "/v1/chat/completions", json=saying("5", STREAM)) as answer:
            await answer.content.readany()
            monkeypatch.setattr(time, "time", lambda: wall() + jump)
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        for _ in range(3):
            async with http.post(root + "/v1/chat/completions", json=CHAT) as answer:
                assert answer.status == 200
        await made.until(lambda: len(ledger.rows) == 4)
        assert all(0 <= row.duration_ms < 1e6 for row in ledger.rows.values())
        assert made.supervisor.replicas["a"].open_breakers == 0
