"""An engine is proven by what its weights said of a few texts when they were gated."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from commands.session import Session
from commands.switch import ensure_golden, measure_golden
from registry.checkpoint import read_manifest
from registry.golden import GOLDEN_PROMPTS
from registry.ledger import Ledger
from serve.golden import GoldenError, prove, reference, served_dtype, tail_logprob
from tests.serving_engine import golden, rig


def test_golden_log_probabilities_come_back_by_backend_and_dtype(ledger):
    for backend, dtype in (("vllm", "bfloat16"), ("torch", "float32")):
        ledger.record_golden(golden("sha256:aa", backend=backend, dtype=dtype))
    ledger.record_golden(golden("sha256:aa", 2.0))  # measured again: the new ones hold
    found = ledger.golden("sha256:aa")
    assert [(one.backend, one.dtype) for one in found] == [
        ("torch", "float32"),
        ("vllm", "bfloat16"),
    ]
    assert found[0] == golden("sha256:aa", 2.0)
    assert ledger.golden("sha256:bb") == []


def test_the_same_backend_and_dtype_is_the_best_reference_and_its_tolerance_holds():
    torch, vllm = golden("d"), golden("d", backend="vllm", tolerance=0.001)
    other = golden("d", dtype="bfloat16", tolerance=0.1)
    assert reference([torch, other, vllm], "float32") == (vllm, 0.001)
    assert reference([torch, other], "float32") == (torch, 0.002)


def test_against_another_dtype_the_coarser_tolerance_holds():
    assert reference([golden("d")], "bfloat16") == (golden("d"), 0.1)
    assert reference([golden("d", dtype="bfloat16", tolerance=0.1)], "float32") == (
        golden("d", dtype="bfloat16", tolerance=0.1),
        0.1,
    )
    assert reference([], "float32") is None


def test_the_last_characters_log_probability_leaves_out_what_was_generated():
    # <s>, "ab", " cd", " e" and a generated " x"; the text after <s> is 7 characters long.
    logprobs = {"text_offset": [0, 3, 5, 8, 10], "token_logprobs": [None, -1.0, -2.0, -4.0, -8.0]}
    assert tail_logprob({"choices": [{"logprobs": logprobs}]}, 5) == (-6.0, 2)
    assert tail_logprob({"choices": [{"logprobs": logprobs}]}, 2) == (-4.0, 1)


def test_a_difference_is_told_by_text_and_counted_per_token():
    said = golden("d")
    near = tuple(one.model_copy(update={"logprob": one.logprob - 0.0039}) for one in said.texts)
    far = tuple(one.model_copy(update={"logprob": one.logprob - 0.0041}) for one in said.texts)
    assert said.differences(near, 0.002) == []  # two tokens: 0.00195 nats each
    assert len(said.differences(far, 0.002)) == 2
    assert "' my order?' has -10.0041 nats, not -10.0000" in said.differences(far, 0.002)[0]


def test_another_tokenizer_is_a_difference_even_where_the_sum_is_the_same():
    said = golden("d")
    split = tuple(one.model_copy(update={"num_tokens": 3}) for one in said.texts)
    assert said.differences(split, 1.0)[0] == "' my order?' is 3 tokens, not 2"


def test_texts_meet_at_a_space_and_are_ascii():
    assert all(rest.startswith(" ") and not before.endswith(" ") for before, rest in GOLDEN_PROMPTS)
    assert all((before + rest).isascii() for before, rest in GOLDEN_PROMPTS)


def test_what_an_engine_computes_in(tmp_path):
    (tmp_path / "config.json").write_text('{"dtype": "float16"}')
    assert served_dtype("auto", tmp_path, cpu=True) == "float32"
    assert served_dtype("auto", tmp_path, cpu=False) == "float16"
    assert served_dtype("half", tmp_path, cpu=True) == "float16"
    (tmp_path / "config.json").write_text('{"torch_dtype": "float32"}')
    assert served_dtype("auto", tmp_path, cpu=False) == "bfloat16"  # vLLM halves float32


async def test_an_engine_that_says_the_same_is_let_in_and_other_weights_are_not(
    monkeypatch, tmp_path
):
    async with rig(monkeypatch, tmp_path) as made:
        await made.up()
        await prove(made.a, "support", [golden("sha256:one-a")], "float32")
        with pytest.raises(GoldenError, match=r"' my order\?' has -10\.0000 nats, not -15\.0000"):
            await prove(made.a, "support", [golden("sha256:one-a", 1.5)], "float32")
        with pytest.raises(GoldenError, match="run `hallmark gate one-a`"):
            await prove(made.a, "support", [], "float32")


def test_what_the_gate_stores_is_what_the_weights_say(tiny_checkpoint):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stored = measure_golden(tiny_checkpoint)
    assert (stored.backend, stored.dtype, stored.tolerance) == ("torch", "float32", 0.002)
    assert [(one.context, one.continuation) for one in stored.texts] == list(GOLDEN_PROMPTS)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, dtype=torch.float32).eval()
    for one in stored.texts:  # its tokens are bytes
        tokens = torch.tensor([tokenizer(one.context + one.continuation)["input_ids"]])
        with torch.no_grad():
            logprobs = model(tokens).logits[0, :-1].log_softmax(-1)
        said = logprobs.gather(1, tokens[0, 1:, None])[-len(one.continuation) :].sum()
        assert one.num_tokens == len(one.continuation)
        assert one.logprob == pytest.approx(float(said), abs=1e-3)


def test_other_weights_are_told_apart_and_the_same_are_measured_once(
    make_tiny_checkpoint, home, monkeypatch
):
    one, other = (make_tiny_checkpoint(name, seed=seed) for name, seed in (("p", 3), ("q", 4)))
    first, second = measure_golden(one), measure_golden(other)
    assert first.differences(second.texts, first.tolerance)
    assert first.differences(measure_golden(one).texts, first.tolerance) == []
    session = Session.open(home.root, None)
    ensure_golden(session, one, read_manifest(one))
    monkeypatch.setattr("commands.switch.measure_golden", lambda folder: pytest.fail("again"))
    ensure_golden(session, one, read_manifest(one))
    assert len(session.ledger.golden(first.weights_digest)) == 1


@pytest.mark.engine
def test_real_vllm_says_what_the_gate_stored(running_server):
    """float32 in torch and in vLLM on a CPU: the same weights within 0.002 nats per token."""
    with Ledger(running_server.home.ledger_url) as opened:
        folders = {
            variant: opened.resolve(digest).uri
            for variant, digest in running_server.checkpoints.items()
        }
    for variant, folder in folders.items():
        stored = measure_golden(Path(folder))
        said = []
        for text in stored.texts:
            body = {"model": f"support@{variant}", "prompt": text.context + text.continuation,
                    "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}  # fmt: skip
            request = urllib.request.Request(
                running_server.base_url + "/completions", data=json.dumps(body).encode(),
                headers={"Authorization": f"Bearer {running_server.api_key}"},
            )  # fmt: skip
            with urllib.request.urlopen(request, timeout=60) as answer:
                logprob, count = tail_logprob(json.load(answer), len(text.continuation))
            said.append(text.model_copy(update={"logprob": logprob, "num_tokens": count}))
        assert stored.differences(tuple(said), stored.tolerance) == []
