"""Feedback and the arena in front of real vLLM engines."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import pytest

from registry.ledger import Ledger
from tests.serving import RunningServer

pytestmark = pytest.mark.engine
MESSAGES = [{"role": "user", "content": "Where is my parcel?"}]


def post(server: RunningServer, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    request = urllib.request.Request(
        server.root + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {server.api_key}", "x-hallmark-unit": "ana"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read()), answer.headers


def until_recorded(server: RunningServer, request_id: str) -> Any:
    with Ledger(server.home.ledger_url) as ledger:
        for _ in range(200):
            if (found := ledger.request(request_id)) is not None:
                return found
            time.sleep(0.05)
    raise AssertionError(f"no record of {request_id}")


def test_a_thumb_leads_from_a_real_answer_to_its_checkpoint(running_server: RunningServer) -> None:
    chat = {"model": running_server.model, "messages": MESSAGES, "max_tokens": 8}
    _, headers = post(running_server, "/v1/chat/completions", chat)
    request_id, variant = headers["x-request-id"], headers["x-hallmark-variant"]
    thumb = {"request_id": request_id, "metric": "thumb", "value": 1}
    said, _ = post(running_server, "/v1/feedback", thumb)
    assert said["checkpoint"] == running_server.checkpoints[variant]
    found = until_recorded(running_server, request_id)
    with Ledger(running_server.home.ledger_url) as ledger:
        [kept] = ledger.feedback(request_id)
    assert (kept.feedback_id, kept.user_digest) == (said["feedback_id"], found.user_digest)


def test_a_battle_is_answered_by_both_real_engines(running_server: RunningServer) -> None:
    body, _ = post(running_server, "/v1/arena/battles", {"messages": MESSAGES, "max_tokens": 8})
    ids = [one["request_id"] for one in body["answers"]]
    found = [until_recorded(running_server, one) for one in ids]
    assert {one.checkpoint for one in found} == set(running_server.checkpoints.values())
    post(running_server, "/v1/feedback", {"metric": "arena", "ranking": [ids]})
    request = urllib.request.Request(
        running_server.root + "/v1/arena/board",
        headers={"Authorization": f"Bearer {running_server.api_key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        board = json.loads(answer.read())
    assert {one["checkpoint"] for one in board["standings"]} == {one.checkpoint for one in found}
