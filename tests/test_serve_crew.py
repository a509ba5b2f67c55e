"""Several worker processes over shared engines: one port, one count, one truth."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from registry.ledger import Ledger
from serve.crew import Crew, CrewError, metrics_folder
from serve.listen import listening
from serve.quotas import QuotaError
from serve.settings import ServeSettings, ServingPlan, VariantPlan
from serve.standing import StandingEngines
from serve.switchboard import Switchboard
from serve.upstream import new_upstream
from serve.worker import share
from tests.serving_fake import FakeEngine


@dataclass
class Running:
    root: str
    engines: dict[str, FakeEngine]
    standing: StandingEngines
    board: Switchboard
    crew: Crew
    task: asyncio.Task[None]

    async def call(self, path: str, body: object = None) -> tuple[int, Any, bytes]:
        """Status, headers and bytes, over a connection of its own."""
        async with (
            aiohttp.ClientSession() as session,
            session.request("POST" if body else "GET", self.root + path, json=body) as answer,
        ):
            return answer.status, answer.headers, await answer.read()

    async def chat(self, said: str = "hi", **more: object) -> tuple[int, Any, bytes]:
        messages = [{"role": "user", "content": said}]
        return await self.call(
            "/v1/chat/completions", {"model": "support", "messages": messages, **more}
        )

    async def value(self, name: str, **labels: str) -> float:
        """The sum of a series' samples that have these labels."""
        _, _, data = await self.call("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(data.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


async def engine(folder: Path, name: str) -> tuple[FakeEngine, web.AppRunner]:
    """An engine that listens on ``folder/name.sock``."""
    fake = FakeEngine()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(folder / f"{name}.sock")).start()
    return fake, runner


@contextlib.asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[Running]:
    """Two workers over variants a and b."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hm-")))
        metrics = stack.enter_context(metrics_folder())
        listener = stack.enter_context(listening("127.0.0.1", 0))
        variants = tuple(VariantPlan(name=name, checkpoint=Path(name)) for name in "ab")
        plan = ServingPlan(
            model_name="support", experiment="spring", salt="spring", variants=variants
        )
        given = {"plan": plan, "home": folder, "workers": 2, "grace_seconds": 3.0, **changes}
        settings = ServeSettings.model_validate(given)
        Ledger(settings.house.ledger_url).close()
        made = {name: await engine(folder, name) for name in "ab"}
        standing = StandingEngines(
            [
                new_upstream(settings, name, f"sha256:{name * 64}", folder / f"{name}.sock")
                for name in "ab"
            ]
        )
        board = Switchboard(standing.fleet.replicas, standing.describe)
        crew = Crew(settings, standing, board, metrics)
        task = asyncio.create_task(crew.serve([listener]))
        root = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fakes = {name: fake for name, (fake, _) in made.items()}
        here = Running(root, fakes, standing, board, crew, task)
        try:
            await eventually(lambda: len(board._hands) == 2 and all_heard(board), 60)
            await here.call("/healthz")
            yield here
        finally:
            for fake in fakes.values():
                fake.release.set()
            crew.should_exit = True
            await task
            await standing.stop()
            for _, runner in made.values():
                await runner.cleanup()


def all_heard(board: Switchboard) -> bool:
    return all(hand.report.version >= 0 for hand in board._hands)


async def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.02)


def workers() -> set[int]:
    return {
        child.pid
        for child in multiprocessing.active_children()
        if child.pid and child.name.startswith("hallmark worker")
    }


async def test_workers_assign_alike_add_up_and_survive_one_anothers_death():
    async with running() as here:
        units = [f"user-{number}" for number in range(20)]
        seen: dict[str, set[str]] = {unit: set() for unit in units}
        for unit in units * 3:  # each over a new connection, to whichever worker takes it
            status, headers, _ = await here.chat(user=unit)
            assert status == 200
            seen[unit].add(headers["x-hallmark-variant"])
        assert all(len(variants) == 1 for variants in seen.values())
        for _ in range(4):
            assert await here.value("hallmark_requests_total", status="200") == 60
        assert await here.value("hallmark_request_duration_seconds_count") == 60

        before = workers()
        assert len(before) == 2
        waiting = asyncio.create_task(here.chat("wait", model="support@a"))
        await here.engines["a"].started.wait()
        await eventually(lambda: here.standing.upstreams["a"].in_flight == 1)
        os.kill(min(before), signal.SIGKILL)
        await eventually(lambda: len(workers() - before) == 1, 30)
        await eventually(lambda: all_heard(here.board), 30)
        for unit in units:
            status, headers, _ = await here.chat(user=unit)
            assert (status, {headers["x-hallmark-variant"]}) == (200, seen[unit])
        assert await here.value("hallmark_requests_total", status="200") == 80
        here.engines["a"].release.set()
        await asyncio.gather(waiting, return_exceptions=True)  # it may have been the dead one's
        await eventually(lambda: here.standing.upstreams["a"].in_flight == 0)
        assert await here.value("hallmark_in_flight_requests") == 0


async def test_what_the_parent_learns_of_engines_every_worker_follows(tmp_path):
    async with running() as here:
        old = here.standing.upstreams["b"]
        old.state = "down"
        here.board.publish()
        await eventually(lambda: all(h.report.version >= 1 for h in here.board._hands))
        for _ in range(4):
            assert (await here.call("/readyz"))[0] == 503
        old.state = "up"
        here.board.publish()
        waiting = asyncio.create_task(here.chat("wait", model="support@b"))
        await here.engines["b"].started.wait()

        folder = old.socket.parent
        fake, runner = await engine(folder, "b2")
        new = new_upstream(here.crew._settings, "b", "sha256:" + "c" * 64, folder / "b2.sock")
        new.state = "up"
        here.standing.fleet.replicas["b"].flip([new], new.checkpoint)
        here.board.publish()
        # Whoever would stop the old engine sees it busy, before any worker has said a word.
        assert old.in_flight > 0
        await eventually(lambda: old.in_flight == 1 and new.in_flight == 0)
        for _ in range(8):
            status, headers, _ = await here.chat(model="support@b")
            assert (status, headers["x-hallmark-checkpoint"]) == (200, new.checkpoint)
        async with asyncio.timeout(10):  # until the other worker has followed as well
            while await here.value("hallmark_variant_info", variant="b") != 1:
                await asyncio.sleep(0.05)
        assert len(fake.bodies) == 8
        assert len(here.engines["b"].bodies) == 1
        here.engines["b"].release.set()
        assert (await waiting)[0] == 200
        await eventually(lambda: old.in_flight == 0)

        slow = asyncio.create_task(here.chat("wait later", model="support@a", stream=True))
        await here.engines["a"].started.wait()
        here.crew.should_exit = True
        await asyncio.sleep(0.5)
        assert not here.task.done()  # a running answer is finished first
        here.engines["a"].release.set()
        assert (await slow)[2].endswith(b"data: [DONE]\n\n")
        await here.task
        assert workers() == set()
        await runner.cleanup()


def test_shares_of_the_slots_add_up_to_all_of_them():
    for total in range(1, 20):
        for many in range(1, total + 1):
            parts = [share(total, many, index) for index in range(many)]
            assert sum(parts) == total
            assert max(parts) - min(parts) <= 1


def test_more_workers_than_slots_are_refused(tmp_path):
    plan = ServingPlan(
        model_name="support", variants=(VariantPlan(name="a", checkpoint=Path("a")),)
    )
    settings = ServeSettings(plan=plan, home=tmp_path, workers=3, max_in_flight=2)
    standing = StandingEngines([])
    with pytest.raises(CrewError, match="3 workers share 2 requests"):
        Crew(settings, standing, Switchboard({}, list), tmp_path)


def test_limited_keys_without_redis_are_refused_before_anything_starts(tmp_path):
    from serve.keys import BEGINNING, new_key
    from serve.run import serve

    plan = ServingPlan(
        model_name="support", variants=(VariantPlan(name="a", checkpoint=Path("a")),)
    )
    settings = ServeSettings(plan=plan, home=tmp_path, workers=2, port=0)
    with Ledger(settings.house.ledger_url) as ledger:
        ledger.record_api_key(new_key("web", ["chat"], max_concurrent=1, now=BEGINNING)[1])
    with pytest.raises(QuotaError, match="HALLMARK_REDIS_URL"):
        serve(settings)
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())).count("logs") == 0
