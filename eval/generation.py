"""Answers in batches: left-padded, sorted by length, one KV cache, finished rows let go.

Sampling inverts each row's distribution at a uniform number that only the seed, the
prompt and its repeat decide, so what a prompt is answered does not depend on the
batch that it happened to be in.

# B = sequences still running, V = vocabulary
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from eval.runner import RunnerError, Sampling

Stopped = Callable[[list[int]], bool]  # whether a row's tokens so far contain a stop text


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    end_tokens: frozenset[int],
    pad_token: int,
    token_budget: int,
    stopped: Stopped | None,
) -> list[list[int]]:
    """Tokens after each prompt, without the end token. Every prompt has room for them."""
    produced: list[list[int]] = [[] for _ in prompts]
    uniforms = None if sampling.temperature == 0 else _uniforms(prompts, sampling)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    while order:
        size = max(1, token_budget // (len(prompts[order[0]]) + sampling.max_tokens))
        rows, order = order[:size], order[size:]
        _generate_batch(
            model, prompts, rows, produced, sampling, uniforms, end_tokens, pad_token, stopped
        )
    return produced


def _uniforms(prompts: Sequence[Sequence[int]], sampling: Sampling) -> np.ndarray[Any, Any]:
    """One uniform number per prompt and step; repeats of a prompt get fresh ones."""
    seen: Counter[tuple[int, ...]] = Counter()
    draws = np.empty((len(prompts), sampling.max_tokens))
    for row, prompt in enumerate(prompts):
        key = (sampling.seed, seen[tuple(prompt)], *prompt)
        seen[tuple(prompt)] += 1
        seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")
        draws[row] = np.random.default_rng(seed).random(sampling.max_tokens)
    return draws


@torch.inference_mode()
def _generate_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    rows: list[int],
    produced: list[list[int]],
    sampling: Sampling,
    uniforms: np.ndarray[Any, Any] | None,
    end_tokens: frozenset[int],
    pad_token: int,
    stopped: Stopped | None,
) -> None:
    width = len(prompts[rows[0]])
    lengths = torch.tensor([len(prompts[row]) for row in rows])
    tokens_BL = torch.tensor(
        [[pad_token] * (width - len(prompts[row])) + list(prompts[row]) for row in rows],
        device=model.device,
    )
    places = torch.arange(width + sampling.max_tokens)
    mask_BL = (places >= (width - lengths)[:, None]).long().to(model.device)
    positions_B1 = lengths[:, None].to(model.device)
    positions = (mask_BL[:, :width].cumsum(1) - 1).clamp(min=0)
    cache: Any = None
    for step in range(sampling.max_tokens):
        output = model(
            input_ids=tokens_BL,
            attention_mask=mask_BL[:, : width + step],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        draws = None if uniforms is None else uniforms[rows, step]
        chosen = _choose(output.logits[:, -1].float().cpu(), sampling.temperature, draws)
        alive = []
        for place, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if token in end_tokens:
                continue
            produced[row].append(token)
            if stopped is None or not stopped(produced[row]):
                alive.append(place)
        if not alive:
            return
        kept = torch.tensor(alive, device=model.device)
        tokens_BL = torch.tensor([[chosen[place]] for place in alive], device=model.device)
        positions_B1 = positions_B1 + 1 if step else positions_B1
        if len(alive) < len(rows):
            cache.batch_select_indices(kept)
            rows = [rows[place] for place in alive]
            mask_BL, positions_B1 = mask_BL[kept], positions_B1[kept]
        positions = positions_B1


def _choose(
    logits_BV: torch.Tensor, temperature: float, draws: np.ndarray[Any, Any] | None
) -> list[int]:
    """The most likely token, or the one at each draw of the tempered distribution."""
    if not bool(torch.isfinite(logits_BV).all()):
        raise RunnerError(
            "the checkpoint gives NaN or infinite logits: its weights are damaged; "
            "train it again or measure another one"
        )
    if draws is None:
        return [int(token) for token in logits_BV.argmax(1)]
    cumulative_BV = (logits_BV.double() / temperature).softmax(1).cumsum(1)
    at = torch.from_numpy(draws)[:, None] * cumulative_BV[:, -1:]
    return [int(token) for token in torch.searchsorted(cumulative_BV, at, right=True).squeeze(1)]
