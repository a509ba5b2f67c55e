"""Greedy answers of a model in training, for looking at and for tuning.

Published checkpoints are run by ``eval.runner``; this is for the loop's own eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from registry.conversation import Message
from train.tokenizer import END, END_OF_TEXT, START, render


def answers(
    network: Any,
    tokenizer: Any,
    dialogues: Sequence[Sequence[Message]],
    *,
    max_tokens: int = 64,
    rows: int = 64,
) -> list[str]:
    """The assistant's next message after each dialogue, padded on the left, greedy."""
    end, pad = tokenizer.convert_tokens_to_ids([END, END_OF_TEXT])
    prompts = [
        tokenizer(render(dialogue)[0] + f"{START}assistant\n", add_special_tokens=False)[
            "input_ids"
        ]
        for dialogue in dialogues
    ]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    result = [""] * len(prompts)
    device = next(network.parameters()).device
    for begin in range(0, len(order), rows):
        part = order[begin : begin + rows]
        width = max(len(prompts[index]) for index in part)
        ids = torch.full((len(part), width), pad, device=device)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(part):
            length = len(prompts[index])
            ids[row, width - length :] = torch.tensor(prompts[index], device=device)
            mask[row, width - length :] = 1
        with torch.no_grad():
            out = network.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=pad,
            )
        for row, index in enumerate(part):
            said = out[row, width:].tolist()
            said = said[: said.index(end)] if end in said else said
            result[index] = tokenizer.decode(said)
    return result
