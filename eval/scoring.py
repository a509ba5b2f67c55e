"""Log-probabilities of packed rows: one forward pass per batch, the head only where needed.

# B = packed sequences, L = tokens of the longest, H = width, V = vocabulary, N = scored positions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from eval.packing import Packed, Row, batches, pack
from eval.runner import Continuation, RunnerError

TRUNK, PADDING = 0, -1


class Scorer:
    """A causal language model's trunk and head, taken apart.

    ``share`` is off for models whose attention is not plain causal (sliding windows),
    where a segment's neighbours would take up its window.
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
            self._score_batch(rows, batch, totals, misses)
        return [
            Continuation(logprob=logprob, greedy=missed == 0, num_tokens=len(row.targets))
            for row, logprob, missed in zip(rows, totals.tolist(), misses.tolist(), strict=True)
        ]

    def _score_batch(
        self,
        rows: Sequence[Row],
        batch: Sequence[Packed],
        totals: torch.Tensor,
        misses: torch.Tensor,
    ) -> None:
        layout = _Layout(rows, batch, self.head.weight.dtype)
        hidden_BLH = self.trunk(**layout.inputs(self.device), use_cache=False)[0]
        hidden_NH = hidden_BLH.flatten(0, 1)[torch.tensor(layout.scored, device=self.device)]
        targets_N = torch.tensor(layout.targets, device=self.device)
        owners_N = torch.tensor(layout.owners)
        step = max(1, 2**25 // self.vocabulary)
        for start in range(0, len(targets_N), step):
            piece = slice(start, start + step)
            logits_NV = self.head(hidden_NH[piece]).float()
            chosen = logits_NV.gather(1, targets_N[piece, None]).squeeze(1)
            logprobs = (chosen - logits_NV.logsumexp(1)).cpu()
            if not bool(torch.isfinite(logprobs).all()):
                raise RunnerError(
                    "the checkpoint gives NaN or infinite logits: its weights are damaged; "
                    "train it again or measure another one"
                )
            missed = (logits_NV.argmax(1) != targets_N[piece]).cpu()
            totals.index_add_(0, owners_N[piece], logprobs.double())
            misses.index_add_(0, owners_N[piece], missed.long())


class _Layout:
    """Tokens, positions and segments of one batch, and which flat positions are scored."""

    def __init__(self, rows: Sequence[Row], batch: Sequence[Packed], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.width = max(group.length for group in batch)
        self.plain = all(len(group.rows) == 1 for group in batch)
        self.tokens: list[list[int]] = []
        self.positions: list[list[int]] = []
        self.segments: list[list[int]] = []
        self.scored: list[int] = []
        self.targets: list[int] = []
        self.owners: list[int] = []
        for number, group in enumerate(batch):
            self._add(rows, group, number * self.width)

    def _add(self, rows: Sequence[Row], group: Packed, base: int) -> None:
        trunk = group.trunk
        tokens = list(rows[group.rows[0]].inputs[:trunk])
        positions = list(range(trunk))
        segments = [TRUNK] * trunk
        for segment, index in enumerate(group.rows, start=1):
            row = rows[index]
            start = len(tokens) - trunk  # where position p >= trunk of this row lies: p + start
            tokens += row.inputs[trunk:]
            positions += range(trunk, len(row.inputs))
            segments += [segment] * (len(row.inputs) - trunk)
            first = len(row.inputs) - len(row.targets)
            self.scored += [
                base + (p if p < trunk else p + start) for p in range(first, len(row.inputs))
            ]
            self.targets += row.targets
            self.owners += [index] * len(row.targets)
        pad = self.width - len(tokens)
        self.tokens.append(tokens + [0] * pad)
        self.positions.append(positions + [0] * pad)
        self.segments.append(segments + [PADDING] * pad)

    def inputs(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Arguments of the trunk. Plain rows need no mask: padding comes after, and is causal."""
        tokens_BL = torch.tensor(self.tokens, device=device)
        if self.plain:
            return {"input_ids": tokens_BL}
        segments_BL = torch.tensor(self.segments, device=device)
        keys, queries = segments_BL[:, None, :], segments_BL[:, :, None]
        causal = torch.ones(self.width, self.width, dtype=torch.bool, device=device).tril()
        seen_BLL = causal & ((keys == TRUNK) | (keys == queries))
        mask_BLL = torch.zeros(seen_BLL.shape, dtype=self.dtype, device=device)
        mask_BLL.masked_fill_(~seen_BLL, float("-inf"))  # once, not once per layer
        return {
            "input_ids": tokens_BL,
            "position_ids": torch.tensor(self.positions, device=device),
            "attention_mask": mask_BLL[:, None],
        }
