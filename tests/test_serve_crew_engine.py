"""`hallmark serve --workers 2` with a real engine, started and ended as people do it."""

from __future__ import annotations

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

KEY = {"Authorization": "Bearer key-of-the-tests"}


@pytest.mark.engine
@pytest.mark.slow
def test_two_workers_answer_with_one_real_engine_and_leave_nothing_behind(
    home, hallmarked_checkpoint, start_gateway
):
    environ = {"HALLMARK_WORKERS": "2"}
    with start_gateway(
        home, {"a": hallmarked_checkpoint}, api_key="key-of-the-tests", environ=environ
    ) as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert len(family) >= 3  # two workers and the engine
        for _ in range(12):  # each over a connection of its own
            answer = requests.post(
                f"{server.base_url}/completions",
                json={"model": "support", "prompt": "a", "max_tokens": 2, "ignore_eos": True},
                headers=KEY,
                timeout=60,
            )
            assert (answer.status_code, answer.headers["x-hallmark-variant"]) == (200, "a")
        for _ in range(3):
            page = requests.get(f"{server.root}/metrics", headers=KEY, timeout=10).text
            samples = [
                sample for one in text_string_to_metric_families(page) for sample in one.samples
            ]
            assert total(samples, "hallmark_requests_total") == 12
            assert total(samples, "hallmark_tokens_total", kind="completion") == 24
            assert total(samples, "hallmark_engine_up") == 1
            assert total(samples, "hallmark_variant_info") == 1
        engines = requests.get(f"{server.root}/metrics/engines/a", headers=KEY, timeout=10)
        assert "vllm:num_requests_running" in engines.text
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


def total(samples: list, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
