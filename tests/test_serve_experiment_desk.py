"""Experiments through the API: declared, started, stopped, looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from registry.ledger import Ledger
from serve.experiment_files import parse_design
from tests.serving_fake import bench

DESIGN = {
    "name": "autumn",
    "variants": [{"name": "a", "checkpoint": "champion"}, {"name": "b", "checkpoint": "next"}],
}
KEY = {"Authorization": "Bearer operator"}


class Api:
    def __init__(self, client: aiohttp.ClientSession, root: str) -> None:
        self.client = client
        self.root = root + "/admin/experiments"

    async def post(self, path: str = "", body: Any = None, **more: Any) -> tuple[int, Any]:
        async with self.client.post(self.root + path, json=body, **more) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(self.root + path) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        async with (
            bench(ledger=ledger, api_keys=("operator",)) as served,
            aiohttp.ClientSession(headers=KEY) as client,
        ):
            yield Api(client, served.root)


async def test_a_design_is_declared_started_and_stopped(api):
    status, body = await api.post(body=DESIGN)
    assert (status, body) == (201, {"name": "autumn", "restart_needed": False})
    status, body = await api.post("/autumn/start", {})
    assert (status, body["kind"]) == (201, "start")
    status, body = await api.post("/autumn/stop", {"variant": "b", "reason": "rude"})
    assert (status, body["variant"]) == (201, "b")
    assert body["reason"].startswith("rude (API key ")
    status, body = await api.get("/autumn")
    assert status == 200
    assert body["state"]["running"] is True
    assert body["state"]["off"] == {"b": "stop"}
    assert body["design"] == parse_design(DESIGN, where="x").model_dump(mode="json")
    assert [event["kind"] for event in body["events"]] == ["start", "stop"]


async def test_a_changed_design_asks_for_a_restart(api):
    await api.post(body=DESIGN)
    _, body = await api.post(body=DESIGN | {"unit": "conversation"})
    assert body["restart_needed"] is True


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("", DESIGN | {"unit": "request"}, 400, "experiment: unit: "),
        ("", [], 400, "must be a JSON object"),
        ("/winter/start", {}, 404, "no experiment named 'winter'; have autumn"),
        ("/autumn/stop", {}, 400, "is not running: it was never started"),
        ("/autumn/start", {"variant": "z"}, 400, "no challenger named 'z'; have b"),
        ("/autumn/start", {"who": "me"}, 400, "variant and reason, no more"),
        ("/autumn/start", {"reason": 7}, 400, "variant and reason are texts"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_reason(api, path, body, status, said):
    await api.post(body=DESIGN)
    found, answer = await api.post(path, body)
    assert (found, answer["error"]["code"][:7]) == (status, "invalid")
    assert said in answer["error"]["message"]


async def test_strangers_change_nothing(api):
    status, _ = await api.post(body=DESIGN, headers={"Authorization": "Bearer guess"})
    assert status == 401
