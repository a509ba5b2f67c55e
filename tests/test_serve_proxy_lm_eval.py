"""lm-eval through the gateway: the same log-likelihoods as with the model in process."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.engine

PAIRS = [
    ("Where is my order 10042?", " It is on its way."),
    ("Where is my order 10042?", " I do not know."),
    ("The parcel", " arrived yesterday, in one piece, and the box was dry."),
    ("a", "b"),
]


def instances() -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=index)
        for index, pair in enumerate(PAIRS)
    ]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_local_completions_gives_the_log_likelihoods_of_the_model_in_process(
    running_server, monkeypatch, batch_size
):
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("OPENAI_API_KEY", running_server.api_key)
    folder = running_server.home.checkpoints / "tiny-a"
    through = LocalCompletionsAPI(
        model="support@a",
        base_url=f"{running_server.base_url}/completions",
        tokenizer=str(folder),
        max_length=1024,
        batch_size=batch_size,
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inside = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
    wanted = inside.loglikelihood(instances())
    found = through.loglikelihood(instances())
    for (got, got_greedy), (sum_in_process, greedy) in zip(found, wanted, strict=True):
        # The engine and transformers add up float32 in different orders.
        assert got == pytest.approx(sum_in_process, abs=1e-3)
        assert got_greedy == greedy
