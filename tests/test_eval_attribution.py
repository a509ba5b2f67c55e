"""Attribution: the hand value on a linear toy, the runner's probabilities on a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from eval.attribution import attribute, attribute_reply, gradient_times_input
from eval.runner import RunnerError
from eval.torch_runner import TorchRunner
from registry.conversation import Message

CONTEXT = "The parcel of order 4711"
ANSWER = " arrives on Tuesday."


@pytest.fixture(scope="module")
def runner(tiny_checkpoint: Path) -> TorchRunner:
    return TorchRunner(tiny_checkpoint)


def test_of_a_linear_score_each_token_has_its_term() -> None:
    # f(x) = sum of w * x: terms 1*2 + 3*(-1) = -1, 2*1 + 0*5 = 2, 4*0.5 + (-1)*3 = -1; sum 0
    inputs = torch.tensor([[2.0, -1.0], [1.0, 5.0], [0.5, 3.0]])
    weights = torch.tensor([[1.0, 3.0], [2.0, 0.0], [4.0, -1.0]])
    value, shares = gradient_times_input(lambda x: (weights * x).sum(), inputs)
    assert shares.tolist() == [-1.0, 2.0, -1.0]
    assert float(value) == float(shares.sum()) == 0.0


def test_a_token_that_the_score_ignores_has_no_share() -> None:
    inputs = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    _, shares = gradient_times_input(lambda x: (x[1] ** 2).sum(), inputs)
    assert shares.tolist() == [0.0, 50.0]  # 2 * (9 + 16)


def test_a_homogeneous_score_is_shared_out_by_its_degree() -> None:
    # Euler: for f of degree 2 the shares sum to twice the score.
    inputs = torch.tensor([[0.3, -0.7], [1.1, 0.2]])
    value, shares = gradient_times_input(lambda x: (x.sum(0) ** 2).sum(), inputs)
    assert float(shares.sum()) == pytest.approx(2 * float(value), rel=1e-6)


def test_the_answers_log_probability_is_the_runners(runner: TorchRunner) -> None:
    found = attribute(runner, CONTEXT, ANSWER)
    (scored,) = runner.continuations([(CONTEXT, ANSWER)])
    assert found.logprob == pytest.approx(scored.logprob, abs=1e-3)
    assert len(found.answer) == scored.num_tokens
    assert all(token.logprob <= 0 for token in found.answer)


def test_a_reply_is_scored_behind_the_chat_template(runner: TorchRunner) -> None:
    dialogue = [Message(role="user", content="Where is it?")]
    found = attribute_reply(runner, dialogue, "Here.")
    prompt = runner.render(dialogue, answer_next=True).rstrip()
    whole, line_break = runner.continuations([(prompt, "\nHere."), (prompt, "\n")])
    assert found.logprob == pytest.approx(whole.logprob - line_break.logprob, abs=1e-3)
    assert "".join(token.text for token in found.inputs if not token.of_answer) == prompt + "\n"
    assert "".join(token.text for token in found.answer) == "Here."


def test_a_rank_of_one_is_what_greedy_decoding_says(runner: TorchRunner) -> None:
    found = attribute(runner, CONTEXT, ANSWER)
    ids = runner.tokenizer(CONTEXT + ANSWER)["input_ids"]
    with torch.no_grad():
        logits = runner.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    first = len(runner.tokenizer(CONTEXT)["input_ids"])
    for number, token in enumerate(found.answer):
        row = logits[first + number - 1]
        own = row[ids[first + number]]
        assert token.logprob == pytest.approx(float(own), abs=1e-4)
        assert token.rank == 1 + int((row > own + 1e-5).sum())


def test_a_share_is_what_a_small_change_of_the_embedding_does(runner: TorchRunner) -> None:
    # (f(x + h x_t) - f(x - h x_t)) / 2h is the directional derivative along token t's input.
    found = attribute(runner, CONTEXT, ANSWER)
    ids = runner.tokenizer(CONTEXT + ANSWER)["input_ids"]
    first = len(runner.tokenizer(CONTEXT)["input_ids"])
    model = runner.model.double()
    try:
        embedded = model.get_input_embeddings()(torch.tensor(ids[:-1])).detach()

        def score(inputs: torch.Tensor) -> float:
            with torch.no_grad():
                rows = model(inputs_embeds=inputs[None]).logits[0].log_softmax(-1)
            return sum(float(rows[n - 1, ids[n]]) for n in range(first, len(ids)))

        for place in (0, 7, first - 1):
            step = torch.zeros_like(embedded)
            step[place] = 1e-4 * embedded[place]
            slope = (score(embedded + step) - score(embedded - step)) / 2e-4
            assert found.inputs[place].attribution == pytest.approx(slope, abs=2e-3)
    finally:
        model.float()


def test_tokens_of_the_answer_that_were_read_are_marked(runner: TorchRunner) -> None:
    found = attribute(runner, "ab", "cde")  # a byte-level tokenizer: one token a letter
    assert [(token.text, token.of_answer) for token in found.inputs] == [
        ("a", False), ("b", False), ("c", True), ("d", True),
    ]  # fmt: skip
    assert [token.text for token in found.answer] == ["c", "d", "e"]
    assert found.cut == 0


def test_a_context_that_is_too_long_loses_its_beginning(runner: TorchRunner) -> None:
    found = attribute(runner, "x" * 2000, "yes")
    assert len(found.inputs) == runner.context_length == 1024
    assert found.cut == 2000 - (1024 - 2)
    assert math.isfinite(found.logprob)


@pytest.mark.parametrize(("context", "answer"), [("", "yes"), ("why?", ""), ("why?", "x" * 2000)])
def test_what_cannot_be_explained_says_so(runner: TorchRunner, context: str, answer: str) -> None:
    with pytest.raises(RunnerError, match="the answer to explain has"):
        attribute(runner, context, answer)
