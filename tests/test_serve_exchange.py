"""What a request is known by."""

from __future__ import annotations

import time

from serve.exchange import Exchange


def test_request_ids_grow_with_time_and_nobody_guesses_the_next():
    before = time.time_ns() // 1_000_000
    first = [Exchange("chat", "/v1/chat/completions").request_id for _ in range(600)]
    time.sleep(0.003)
    second = Exchange("chat", "/v1/chat/completions").request_id
    assert len(set(first)) == 600
    assert max(first) < second
    assert before <= int(second.removeprefix("req-")[:12], 16) <= time.time_ns() // 1_000_000
    assert len({one[-20:] for one in first}) == 600  # 80 random bits
    assert {len(one) for one in first} == {4 + 12 + 20}
