"""Which tokens of a prompt weighed on an answer, and how likely each token of it was.

Gradient times input on the embeddings: the first-order share of each input token in the
answer's log-probability. It tells where the model is sensitive near this input, not why
it answered: what is saturated has no gradient, and what interacts is split at will.
Source: Simonyan et al. 2014, https://arxiv.org/abs/1312.6034, section 3 (gradients);
Shrikumar et al. 2017, https://arxiv.org/abs/1605.01713, section 3 (times input).
"""

# T = input tokens, A = tokens of the answer, H = width, V = vocabulary

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from eval.packing import row_of
from eval.runner import RunnerError
from eval.torch_runner import TorchRunner
from registry.conversation import Message


@dataclass(frozen=True)
class InputToken:
    """A token that the model read, and its share of the answer's log-probability in nats.

    Positive: without it, to first order, the answer would have been less likely.
    ``of_answer`` are tokens of the answer itself, read for the tokens after them.
    """

    text: str
    attribution: float
    of_answer: bool


@dataclass(frozen=True)
class AnswerToken:
    """``logprob`` in nats (<= 0); ``rank`` 1 is what greedy decoding would have said."""

    text: str
    logprob: float
    rank: int


@dataclass(frozen=True)
class Attributed:
    """``cut`` tokens of the context's beginning did not fit and were not read."""

    inputs: tuple[InputToken, ...]
    answer: tuple[AnswerToken, ...]
    cut: int

    @property
    def logprob(self) -> float:
        return sum(token.logprob for token in self.answer)


def gradient_times_input(
    score: Callable[[torch.Tensor], torch.Tensor], inputs_TH: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the score, its gradient times the input, summed over the width: one number a token).

    For a linear score the numbers are its terms, and their sum is the score.
    """
    leaf_TH = inputs_TH.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        value = score(leaf_TH)
        (gradient_TH,) = torch.autograd.grad(value, leaf_TH)
    return value.detach(), (gradient_TH * leaf_TH.detach()).sum(-1)


def attribute_reply(runner: TorchRunner, dialogue: Sequence[Message], answer: str) -> Attributed:
    """Of an assistant's answer to a dialogue, through the chat template."""
    return attribute(runner, runner.render(dialogue, answer_next=True), answer)


def attribute(runner: TorchRunner, context: str, answer: str) -> Attributed:
    """Of ``answer`` after ``context``, both encoded alone, as a server has them.

    Raises RunnerError where one is empty, the answer alone is over the model's context, or
    the logits are not finite.
    """
    tokenizer, model = runner.tokenizer, runner.model
    head, tail = (
        list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (context, answer)
    )
    try:
        row = row_of(head, tail, runner.context_length)
    except ValueError as error:
        raise RunnerError(f"the answer to explain {error}; nothing can be shown of it") from error
    ids_T = torch.tensor(row.inputs, device=model.device)
    targets_A = torch.tensor(row.targets, device=model.device)
    kept: dict[str, torch.Tensor] = {}

    def log_probability(inputs_TH: torch.Tensor) -> torch.Tensor:
        hidden_TH = model.base_model(inputs_embeds=inputs_TH[None], use_cache=False)[0][0]
        logits_AV = model.get_output_embeddings()(hidden_TH[-len(targets_A) :]).float()
        kept["logprobs_AV"] = logits_AV.log_softmax(-1)
        return kept["logprobs_AV"].gather(1, targets_A[:, None]).sum()

    value, shares_T = gradient_times_input(log_probability, model.get_input_embeddings()(ids_T))
    if not bool(torch.isfinite(value)) or not bool(torch.isfinite(shares_T).all()):
        raise RunnerError(
            "the checkpoint gives NaN or infinite logits: its weights are damaged; "
            "serve and explain another one"
        )
    logprobs_AV = kept["logprobs_AV"].detach()
    chosen_A = logprobs_AV.gather(1, targets_A[:, None])[:, 0]
    ranks_A = 1 + (logprobs_AV > chosen_A[:, None]).sum(1)
    read = len(row.inputs) - len(row.targets) + 1
    return Attributed(
        inputs=tuple(
            InputToken(_text(tokenizer, token), share, place >= read)
            for place, (token, share) in enumerate(zip(row.inputs, shares_T.tolist(), strict=True))
        ),
        answer=tuple(
            AnswerToken(_text(tokenizer, token), logprob, rank)
            for token, logprob, rank in zip(
                row.targets, chosen_A.tolist(), ranks_A.tolist(), strict=True
            )
        ),
        cut=len(head) - read,
    )


def _text(tokenizer: Any, token: int) -> str:
    """One token alone; a piece of a character shows as U+FFFD."""
    return str(tokenizer.decode([token]))
