"""Shadows see a copy, answer nobody, and count nowhere; engines are real HTTP servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from monitoring.experiments import read_out
from registry.experiments import ExperimentEvent
from registry.ledger import Ledger
from registry.served import RequestRecord
from serve.experiment_files import parse_design
from serve.experiment_state import first_start
from serve.settings import ServingPlan, VariantPlan
from serve.shadow import MAX_IN_FLIGHT, Copy, Shadows
from tests.ledgers import NOON
from tests.serving_fake import Bench, bench


def plan(share: float = 1.0) -> ServingPlan:
    """Variant a answers, b shadows this share of the units."""
    design = parse_design(
        {
            "name": "spring",
            "variants": [
                {"name": "a", "checkpoint": "a"},
                {"name": "b", "checkpoint": "b", "shadow": share},
            ],
        },
        where="test",
    )
    return ServingPlan(
        model_name="support",
        experiment="spring",
        salt="spring",
        variants=(
            VariantPlan(name="a", checkpoint=Path("a")),
            VariantPlan(name="b", checkpoint=Path("b"), weight=0),
        ),
        design=design,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        opened.record_experiment_event(first_start("spring", "go", NOON))
        yield opened


async def ask(client: aiohttp.ClientSession, served: Bench, said: str, **more: Any) -> str:
    """The request id of an answer that variant a gave."""
    body = {"model": "support", "messages": [{"role": "user", "content": said}], "user": "ann"}
    async with client.post(f"{served.root}/v1/chat/completions", json=body | more) as answer:
        await answer.read()
        assert answer.headers["x-hallmark-variant"] == "a"
        return answer.headers["x-request-id"]


async def rows_of(store: Ledger, count: int) -> list[RequestRecord]:
    for _ in range(250):
        rows = await asyncio.to_thread(lambda: list(store.requests("spring")))
        if len(rows) >= count:
            return rows
        await asyncio.sleep(0.02)
    raise AssertionError(f"{len(rows)} of {count} records")


async def running(client: aiohttp.ClientSession, served: Bench) -> None:
    """Wait until the guardian has said that the experiment runs."""
    for _ in range(250):
        if served.value("hallmark_guardian_last_look_timestamp_seconds", experiment="spring"):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the guardian never looked")


async def test_a_copy_of_an_answered_request_is_recorded_beside_it_and_excluded(store):
    async with bench(plan=plan(), ledger=store) as served, aiohttp.ClientSession() as client:
        await running(client, served)
        request_id = await ask(client, served, "hello", stream=True, temperature=0.5)
        rows = {row.variant: row for row in await rows_of(store, 2)}
        copied = rows["b"]
        assert (copied.shadow_of, copied.excluded) == (request_id, "shadow")
        assert copied.unit_digest == rows["a"].unit_digest
        assert (copied.status, copied.completion_tokens) == (200, 7)
        assert copied.user_digest == rows["a"].user_digest
        [asked] = served.engines["b"].bodies
        assert asked["messages"] == [{"role": "user", "content": "hello"}]
        assert asked["temperature"] == 0.5
        assert "stream" not in asked
        labels = {"variant": "b", "outcome": "answered"}
        assert served.value("hallmark_shadow_requests_total", **labels) == 1
        # The variant's own series hold none of it.
        labels = {"variant": "b", "route": "chat", "status": "200"}
        assert served.value("hallmark_requests_total", **labels) == 0


async def test_a_shadow_s_answers_are_paired_with_those_that_users_got(store):
    async with bench(plan=plan(), ledger=store) as served, aiohttp.ClientSession() as client:
        await running(client, served)
        for n in range(4):
            await ask(client, served, "hello", user=f"u{n}")
        rows = await rows_of(store, 8)
    found = read_out({"a": 1.0, "b": 0.0}, rows, [])
    assert [arm.requests for arm in found.arms] == [4, 0]
    [tokens] = [row for row in found.pairs if row.metric == "completion_tokens"]
    assert (tokens.other, tokens.num_pairs, tokens.difference) == ("b", 4, 0.0)


async def test_a_shadow_that_fails_is_recorded_and_its_users_notice_nothing(store):
    async with bench(plan=plan(), ledger=store) as served, aiohttp.ClientSession() as client:
        await running(client, served)
        served.standing.upstreams["b"].state = "down"
        await ask(client, served, "hello")
        rows = {row.variant: row for row in await rows_of(store, 2)}
        assert (rows["a"].status, rows["b"].status) == (200, 502)
        labels = {"variant": "b", "outcome": "failed"}
        assert served.value("hallmark_shadow_requests_total", **labels) == 1


async def test_what_was_not_answered_is_not_copied(store):
    async with bench(plan=plan(), ledger=store) as served, aiohttp.ClientSession() as client:
        await running(client, served)
        await ask(client, served, "context")  # 400
        await ask(client, served, "hello")
        rows = await rows_of(store, 3)
        assert sorted(row.variant for row in rows) == ["a", "a", "b"]


async def test_units_outside_the_sample_are_not_copied(store):
    async with bench(plan=plan(0.3), ledger=store) as served, aiohttp.ClientSession() as client:
        await running(client, served)
        for n in range(20):
            await ask(client, served, "hello", user=f"u{n}")
            await ask(client, served, "hello again", user=f"u{n}")
        await asyncio.sleep(0.3)
        rows = await rows_of(store, 40)
    units = {row.unit_digest for row in rows if row.variant == "b"}
    assert 1 < len(units) < 14
    dropped = served.value("hallmark_shadow_requests_total", variant="b", outcome="dropped")
    # Sticky: each unit of the sample was copied both times.
    assert sum(row.variant == "b" for row in rows) + dropped == 2 * len(units)


async def test_a_shadow_that_was_switched_off_gets_no_copies(store):
    store.record_experiment_event(
        ExperimentEvent(
            key="off", experiment="spring", kind="stop", variant="b", reason="r", at=NOON
        )
    )
    async with bench(plan=plan(), ledger=store) as served, aiohttp.ClientSession() as client:
        await running(client, served)
        await ask(client, served, "hello")
        await asyncio.sleep(0.2)
        assert served.engines["b"].bodies == []


async def test_copies_beyond_the_limit_are_dropped_and_counted(store):
    async with bench(plan=plan(), ledger=store) as served:
        put: list[Any] = []
        shadows = Shadows(served.standing.fleet, put.append, served.series, model_name="support")
        body = {"messages": [{"role": "user", "content": "wait"}]}
        for n in range(MAX_IN_FLIGHT + 3):
            shadows.copy("b", Copy(f"r{n}", "/v1/chat/completions", body, "spring", "u"))
        labels = {"variant": "b", "outcome": "dropped"}
        assert served.value("hallmark_shadow_requests_total", **labels) == 3
        await served.engines["b"].started.wait()
        await shadows.close()
        assert put == []
