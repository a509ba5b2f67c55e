"""Control routes: models, health, metrics, feedback; and what the import costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving_fake import Bench, bench

CHAT = {"model": "support", "messages": [{"role": "user", "content": "hi"}], "user": "u1"}


@pytest.fixture
async def gateway() -> AsyncIterator[Bench]:
    async with bench() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def say(http: aiohttp.ClientSession, gateway: Bench, body: object) -> tuple[int, dict]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http.post(gateway.root + "/v1/feedback", data=data) as answer:
        return answer.status, await answer.json()


async def ask(http: aiohttp.ClientSession, gateway: Bench) -> tuple[str, str]:
    """Request id and variant."""
    async with http.post(gateway.root + "/v1/chat/completions", json=CHAT) as answer:
        return answer.headers["x-request-id"], answer.headers["x-hallmark-variant"]


async def test_the_models_are_the_name_and_each_pinned_variant(gateway, http):
    async with http.get(gateway.root + "/v1/models") as answer:
        rows = (await answer.json())["data"]
    assert [row["id"] for row in rows] == ["support", "support@a", "support@b"]
    assert rows[2]["hallmark"] == {"variant": "b", "checkpoint": "sha256:" + "b" * 64}


async def test_ready_only_while_every_variant_is_up_and_alive_all_the_while(gateway, http):
    async with http.get(gateway.root + "/readyz") as answer:
        assert answer.status == 200
    gateway.standing.upstreams["b"].state = "down"
    async with http.get(gateway.root + "/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json())["variants"] == {"a": "up", "b": "down"}
    async with http.get(gateway.root + "/healthz") as answer:
        assert answer.status == 200


async def test_the_metrics_are_prometheus_text_and_openmetrics_on_request(gateway, http):
    await ask(http, gateway)
    async with http.get(gateway.root + "/metrics", headers={"Accept": "*/*"}) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = {f.name for f in text_string_to_metric_families(await answer.text())}
    assert {"hallmark_requests", "hallmark_gateway_overhead_seconds"} <= families
    wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with http.get(gateway.root + "/metrics", headers=wanted) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


async def test_an_engines_own_metrics_are_relayed_with_their_content_type(gateway, http):
    async with http.get(gateway.root + "/metrics/engines/a") as answer:
        assert await answer.text() == "vllm:num_requests_running 0\n"
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    async with http.get(gateway.root + "/metrics/engines/z") as answer:
        assert answer.status == 404
        assert "have a, b" in (await answer.json())["error"]["message"]


async def test_an_unknown_route_lists_the_routes_in_openais_shape(gateway, http):
    async with http.get(gateway.root + "/v2/models") as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (404, "not_found")
        assert "/v1/chat/completions" in error["message"]


async def test_development_routes_of_the_engine_are_not_reachable(gateway, http):
    for path in ("/tokenize", "/invocations", "/sleep", "/collective_rpc", "/v1/load_lora_adapter"):
        async with http.post(gateway.root + path, json={}) as answer:
            assert answer.status == 404


async def test_variants_and_their_state_are_shown_to_operators(gateway, http):
    async with http.get(gateway.root + "/admin/variants") as answer:
        body = await answer.json()
    assert body["experiment"] == "spring"
    first = body["variants"][0]
    assert (first["variant"], first["state"], first["weight"]) == ("a", "up", 1.0)


async def test_feedback_is_stored_with_its_request_and_counted_by_variant(gateway, http):
    request_id, variant = await ask(http, gateway)
    status, body = await say(
        http, gateway, {"request_id": request_id, "kind": "thumb", "value": -1}
    )
    assert (status, body["recorded"], body["variant"]) == (201, True, variant)
    assert body["checkpoint"] == f"sha256:{variant * 64}"
    stored = gateway.ledger.feedback[body["feedback_id"]]
    assert (stored.request_id, stored.kind, stored.value) == (request_id, "thumb", -1)
    labels = {"variant": variant, "kind": "thumb", "sentiment": "negative"}
    assert gateway.value("hallmark_feedback_total", **labels) == 1


async def test_the_same_feedback_id_twice_is_one_piece_of_feedback(gateway, http):
    request_id, variant = await ask(http, gateway)
    body = {"request_id": request_id, "kind": "rating", "value": 5, "feedback_id": "mine"}
    assert (await say(http, gateway, body))[0] == 201
    status, answer = await say(http, gateway, body)
    assert (status, answer["recorded"]) == (200, False)
    labels = {"variant": variant, "kind": "rating", "sentiment": "positive"}
    assert gateway.value("hallmark_feedback_total", **labels) == 1


async def test_feedback_before_its_record_is_taken(gateway, http):
    status, body = await say(
        http, gateway, {"request_id": "req-not-yet", "kind": "comment", "text": "good"}
    )
    assert (status, body["variant"]) == (201, None)


async def test_the_better_answer_of_an_edit_is_masked(gateway, http):
    text = "Please write to jane.doe@example.org about order 4711."
    _, body = await say(http, gateway, {"request_id": "r", "kind": "edit", "text": text})
    stored = gateway.ledger.feedback[body["feedback_id"]]
    assert stored.text == "Please write to [EMAIL] about order 4711."


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "no valid JSON"),
        ([1], "must be a JSON object"),
        ({"kind": "thumb", "value": 1}, "request_id: Field required"),
        ({"request_id": "r", "kind": "thumb", "value": 2}, "a thumb's value is 1 or -1"),
        ({"request_id": "r", "kind": "rating", "value": 0}, "a rating's value is 1, 2, 3, 4 or 5"),
        ({"request_id": "r", "kind": "edit", "text": " "}, "needs a text"),
        ({"request_id": "r", "kind": "like"}, "kind: Input should be 'thumb', 'rating'"),
        ({"request_id": "r", "kind": "thumb", "value": 1, "user": "x"}, "user: Extra inputs"),
        ({"request_id": "r", "kind": "comment", "text": "x" * 20_000}, "text: String should have"),
    ],
)
async def test_feedback_that_makes_no_sense_is_400_and_says_why(gateway, http, body, complaint):
    status, answer = await say(http, gateway, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert complaint in answer["error"]["message"]
    assert gateway.ledger.feedback == {}


async def test_answers_go_on_while_the_ledger_fails_and_the_loss_is_counted(gateway, http):
    gateway.ledger.fail = True
    await ask(http, gateway)
    for _ in range(200):
        if gateway.value("hallmark_records_dropped_total") == 1:
            break
        await asyncio.sleep(0.02)
    assert gateway.value("hallmark_records_dropped_total") == 1
    assert (await ask(http, gateway))[0]
