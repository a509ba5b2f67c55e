"""What was acknowledged is there: the gateway is killed with -9 while feedback comes in."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from registry.ledger import Ledger
from tests.feedback_gateway import running

NUM_CLIENTS = 4


def post(root: str, feedback_id: str) -> int:
    body = b'{"feedback_id":"%b","request_id":"r","kind":"thumb","value":1}'
    request = urllib.request.Request(
        root + "/v1/feedback", data=body % feedback_id.encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


def keep_saying(root: str, client: int, sent: list[str], acknowledged: list[str]) -> None:
    """Until the gateway is gone."""
    for number in range(100_000):
        feedback_id = f"{client}-{number}"
        sent.append(feedback_id)
        try:
            post(root, feedback_id)
        except (OSError, urllib.error.URLError):
            return
        acknowledged.append(feedback_id)


@pytest.mark.parametrize("after", [10, 60])
def test_no_acknowledged_feedback_is_lost_when_the_gateway_is_killed(
    url: str, tmp_path: Path, after: int
) -> None:
    """``after`` acknowledgements the gateway is killed; what was sent again is there once."""
    Ledger(url).close()
    sent: list[str] = []
    acknowledged: list[str] = []
    with running(url, tmp_path / "home") as (root, process):
        clients = [
            threading.Thread(target=keep_saying, args=(root, number, sent, acknowledged))
            for number in range(NUM_CLIENTS)
        ]
        for client in clients:
            client.start()
        while len(acknowledged) < after:
            assert any(client.is_alive() for client in clients)
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        for client in clients:
            client.join(30)
        assert process.wait(10) == -signal.SIGKILL
    with Ledger(url) as ledger:
        kept = [one.feedback_id for one in ledger.feedback("r")]
        assert set(acknowledged) - set(kept) == set()
        assert len(kept) == len(set(kept))
        assert set(kept) <= set(sent)
    unsure = sorted(set(sent) - set(acknowledged))
    with running(url, tmp_path / "home") as (root, _):
        for feedback_id in unsure:
            assert post(root, feedback_id) in (200, 201)
    with Ledger(url) as ledger:
        assert sorted(one.feedback_id for one in ledger.feedback("r")) == sorted(sent)
