"""Log-probabilities of packed rows: one forward pass per batch, the head only where needed.

# B = packed sequences, L = tokens of the longest, H = width, V = vocabulary,
# U = places where something is predicted, N = predictions (several targets may share a place)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch

from eval.packing import Packed, Row, batches, pack
from eval.runner import Continuation, RunnerError

# Logits of one piece fit a core's cache; a larger device wants larger pieces.
CPU_LOGITS, DEVICE_LOGITS = 2**21, 2**25


class Scorer:
    """A causal language model's trunk and head, taken apart.

    ``share`` is off for models whose attention is not plain causal (sliding windows),
    where a branch's neighbours would take up its window.
    """

    def __init__(self, model: Any, *, max_length: int, token_budget: int, share: bool) -> None:
        self.trunk = model.base_model
        self.head = model.get_output_embeddings()
        self.device = model.device
        self.vocabulary = int(self.head.weight.shape[0])
        self.max_length = max_length
        self.token_budget = token_budget
        self.share = share

    @torch.inference_mode()
    def score(self, rows: Sequence[Row]) -> list[Continuation]:
        """One result per row, in order. Raises RunnerError on NaN or infinite logits."""
        totals = torch.zeros(len(rows), dtype=torch.float64)
        misses = torch.zeros(len(rows), dtype=torch.int64)
        packed = pack(rows, share=self.share, max_length=self.max_length)
        for batch in batches(packed, token_budget=self.token_budget):
            self._score_batch(batch, totals, misses)
        return [
            Continuation(logprob=logprob, greedy=missed == 0, num_tokens=len(row.targets))
            for row, logprob, missed in zip(rows, totals.tolist(), misses.tolist(), strict=True)
        ]

    def _score_batch(
        self, batch: Sequence[Packed], totals: torch.Tensor, misses: torch.Tensor
    ) -> None:
        hidden_BLH = self.trunk(**self._inputs(batch), use_cache=False)[0]
        width = len(batch[0])
        flat = [number * width + place for number, t in enumerate(batch) for place in t.places]
        places_U, which_N = torch.unique(torch.tensor(flat), return_inverse=True)
        hidden_UH = hidden_BLH.flatten(0, 1)[places_U.to(self.device)]
        del hidden_BLH
        targets_N = torch.tensor([target for tree in batch for target in tree.targets])
        owners_N = torch.tensor([owner for tree in batch for owner in tree.owners])
        order_N = which_N.argsort()
        which_N, targets_N, owners_N = which_N[order_N], targets_N[order_N], owners_N[order_N]
        room = CPU_LOGITS if self.device.type == "cpu" else DEVICE_LOGITS
        step = max(1, room // self.vocabulary)
        cuts = torch.searchsorted(which_N, torch.arange(0, len(places_U) + step, step)).tolist()
        for start, (first, last) in zip(range(0, len(places_U), step), pairwise(cuts), strict=True):
            logprobs_N, missed_N = predictions(
                self.head(hidden_UH[start : start + step]).float(),
                (which_N[first:last] - start).to(self.device),
                targets_N[first:last].to(self.device),
            )
            if not bool(torch.isfinite(logprobs_N).all()):
                raise RunnerError(
                    "the checkpoint gives NaN or infinite logits: its weights are damaged; "
                    "train it again or measure another one"
                )
            totals.index_add_(0, owners_N[first:last], logprobs_N.double())
            misses.index_add_(0, owners_N[first:last], missed_N.long())

    def _inputs(self, batch: Sequence[Packed]) -> dict[str, torch.Tensor]:
        """Arguments of the trunk. Plain rows need no mask: padding comes after, and is causal."""
        width = len(batch[0])

        def padded(lists: Iterable[list[int]]) -> torch.Tensor:
            return torch.tensor([each + [0] * (width - len(each)) for each in lists])

        tokens_BL = padded(tree.tokens for tree in batch).to(self.device)
        if all(tree.rows == 1 for tree in batch):
            return {"input_ids": tokens_BL}
        ends_BL = padded(tree.ends for tree in batch).to(self.device)
        places_L = torch.arange(width, device=self.device)
        seen_BLL = (places_L[None, :, None] < ends_BL[:, None, :]) & (
            places_L[:, None] >= places_L[None, :]
        )
        seen_BLL |= torch.eye(width, dtype=torch.bool, device=self.device)  # padding sees itself
        mask_BLL = torch.zeros(seen_BLL.shape, dtype=self.head.weight.dtype, device=self.device)
        mask_BLL.masked_fill_(~seen_BLL, float("-inf"))  # once, not once per layer
        positions_BL = padded(tree.positions for tree in batch).to(self.device)
        return {
            "input_ids": tokens_BL,
            "position_ids": positions_BL,
            "attention_mask": mask_BLL[:, None],
        }


def predictions(
    logits_UV: torch.Tensor, which_N: torch.Tensor, targets_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target at its place, and whether another token is likelier.

    Of equally likely tokens the first counts as the likeliest, as in ``argmax``. The
    logits are overwritten.
    """
    chosen_N = logits_UV[which_N, targets_N]
    highest_U = logits_UV.amax(1)
    missed_N = chosen_N < highest_U[which_N]
    if not bool(missed_N.all()):
        tied_N = ~missed_N
        missed_N[tied_N] = logits_UV[which_N[tied_N]].argmax(1) != targets_N[tied_N]
    sums_U = logits_UV.sub_(highest_U[:, None]).exp_().sum(1)
    logprobs_N = chosen_N - (highest_U + sums_U.log())[which_N]
    return logprobs_N.cpu(), missed_N.cpu()
