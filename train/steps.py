"""Batches into losses: language modelling, fine-tuning, DPO and KTO as steps of the loop.

B = rows, N = supervised positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.loop import StepLoss
from train.model import Precision, autocast
from train.objectives import (
    dpo,
    kto,
    kto_baseline,
    negative_log_likelihood,
    sequence_log_probs,
)
from train.packing import Document, Stream, collate
from train.parallel import World
from train.recipe import Preference


@dataclass(frozen=True)
class Engine:
    """The forward pass: a scorer, wrapped for several processes, and how to feed it."""

    scorer: nn.Module
    world: World
    precision: Precision
    pad: int

    def log_probs(self, documents: Sequence[Document]) -> tuple[Tensor, Tensor, int]:
        """(log p of supervised targets (N,), their rows (N,), padded tokens)."""
        batch = collate(documents, self.pad)
        device = self.world.device
        supervised = torch.from_numpy(batch.supervised_BT).to(device)
        with autocast(device, self.precision):
            found: Tensor = self.scorer(
                torch.from_numpy(batch.ids_BT).to(device),
                torch.from_numpy(batch.targets_BT).to(device),
                supervised,
            )
        return found, supervised.nonzero()[:, 0], batch.num_tokens

    def sequences(self, documents: Sequence[Document]) -> tuple[Tensor, Tensor, int]:
        """(log p per document (B,), log p per target (N,), padded tokens)."""
        each, rows, tokens = self.log_probs(documents)
        return sequence_log_probs(each, rows, len(documents)), each, tokens

    def mine(self, documents: Sequence[Document], indices: Sequence[int]) -> list[Document]:
        """This process's rows of a batch; one without targets where there is none for it."""
        own = [documents[index] for index in self.world.share(indices)]
        if own:
            return own
        spare = documents[indices[0]]
        return [Document(spare.ids, np.zeros(len(spare), dtype=np.bool_))]

    def precompute(
        self, documents: Sequence[Document], tokens_per_batch: int
    ) -> NDArray[np.float32]:
        """Log-probability of every document under the weights as they are now."""
        result = np.zeros(len(documents), dtype=np.float32)
        stream = Stream([len(d) for d in documents], tokens_per_batch, seed=0)
        with torch.no_grad():
            for indices in stream.epoch(0):
                values, _, _ = self.sequences([documents[index] for index in indices])
                result[indices] = values.float().cpu().numpy()
        return result


class Likelihood:
    """Mean negative log-likelihood of the supervised tokens of a batch."""

    def __init__(
        self, engine: Engine, documents: Sequence[Document], tokens_per_batch: int, seed: int
    ) -> None:
        self._engine = engine
        self._documents = documents
        self._stream = Stream([len(d) for d in documents], tokens_per_batch, seed)
        self._targets = np.asarray([int(d.supervised[1:].sum()) for d in documents])

    def __call__(self, step: int) -> StepLoss:
        indices = self._stream.indices(step)
        own = self._engine.mine(self._documents, indices)
        log_probs, _, tokens = self._engine.log_probs(own)
        total = negative_log_likelihood(log_probs).sum()
        # Gradients are averaged over processes, so each divides by the whole batch's mean share.
        everything = int(self._targets[indices].sum())
        loss = total * (self._engine.world.size / everything)
        return StepLoss(loss, float(total.detach()), len(log_probs), tokens)


class Dpo:
    """DPO on pairs, optionally with the likelihood of the chosen answers and of a mix."""

    def __init__(
        self,
        engine: Engine,
        chosen: Sequence[Document],
        rejected: Sequence[Document],
        settings: Preference,
        tokens_per_batch: int,
        seed: int,
        mix: Likelihood | None = None,
    ) -> None:
        self._engine, self._settings, self._mix = engine, settings, mix
        self._chosen, self._rejected = chosen, rejected
        self._reference = (
            engine.precompute(chosen, tokens_per_batch),
            engine.precompute(rejected, tokens_per_batch),
        )
        lengths = [2 * max(len(c), len(r)) for c, r in zip(chosen, rejected, strict=True)]
        self._stream = Stream(lengths, tokens_per_batch, seed)

    def __call__(self, step: int) -> StepLoss:
        engine, settings = self._engine, self._settings
        indices = self._stream.indices(step)
        own = engine.world.share(indices) or indices[:1]
        weight = 1.0 if engine.world.share(indices) else 0.0
        documents = [self._chosen[i] for i in own] + [self._rejected[i] for i in own]
        sequences, _, tokens = engine.sequences(documents)
        chosen, rejected = sequences.float().chunk(2)
        reference = [torch.from_numpy(r[own]).to(chosen.device) for r in self._reference]
        losses = dpo(chosen, rejected, *reference, beta=settings.beta)
        loss = weight * losses.sum() * (engine.world.size / len(indices))
        if settings.sft_weight:
            targets = sum(int(d.supervised[1:].sum()) for d in documents[: len(own)])
            loss = loss - weight * settings.sft_weight * chosen.sum() / max(targets, 1)
        won = ((chosen - reference[0]) > (rejected - reference[1])).float().mean()
        loss, tokens = _with_mix(self._mix, settings, step, loss, tokens)
        return StepLoss(
            loss,
            weight * float(losses.sum().detach()),
            int(weight) * len(own),
            tokens,
            {"pairs_won": float(won)},
        )


class Kto:
    """KTO on labelled completions; the reference point comes from mismatched completions."""

    def __init__(
        self,
        engine: Engine,
        completions: Sequence[Document],
        mismatched: Sequence[Document],
        desirable: NDArray[np.bool_],
        settings: Preference,
        tokens_per_batch: int,
        seed: int,
        mix: Likelihood | None = None,
    ) -> None:
        self._engine, self._settings, self._mix = engine, settings, mix
        self._completions, self._mismatched, self._desirable = completions, mismatched, desirable
        self._reference = engine.precompute(completions, tokens_per_batch)
        self._reference_mismatched = engine.precompute(mismatched, tokens_per_batch)
        self._stream = Stream([len(d) for d in completions], tokens_per_batch, seed)

    def __call__(self, step: int) -> StepLoss:
        engine, settings = self._engine, self._settings
        indices = self._stream.indices(step)
        own = engine.world.share(indices) or indices[:1]
        weight = 1.0 if engine.world.share(indices) else 0.0
        with torch.no_grad():
            others, _, _ = engine.sequences([self._mismatched[i] for i in own])
        sequences, _, tokens = engine.sequences([self._completions[i] for i in own])
        device = sequences.device
        baseline = kto_baseline(
            others.float(), torch.from_numpy(self._reference_mismatched[own]).to(device)
        )
        desirable = torch.from_numpy(self._desirable[own]).to(device)
        reference = torch.from_numpy(self._reference[own]).to(device)
        losses = kto(
            sequences.float(), reference, desirable, baseline,
            beta=settings.beta,
            desirable_weight=settings.desirable_weight,
            undesirable_weight=settings.undesirable_weight,
        )  # fmt: skip
        loss = weight * losses.sum() * (engine.world.size / len(indices))
        loss, tokens = _with_mix(self._mix, settings, step, loss, tokens)
        return StepLoss(
            loss,
            weight * float(losses.sum().detach()),
            int(weight) * len(own),
            tokens,
            {"kl": float(baseline)},
        )


def _with_mix(
    mix: Likelihood | None, settings: Preference, step: int, loss: Tensor, tokens: int
) -> tuple[Tensor, int]:
    if mix is None or not settings.mix_weight:
        return loss, tokens
    also = mix(step)
    return loss + settings.mix_weight * also.loss, tokens + also.tokens


class BitsPerByte:
    """Validation: bits of all supervised targets over the bytes of text that they spell."""

    def __init__(
        self,
        engine: Engine,
        documents: Sequence[Document],
        bytes_per_token: NDArray[np.int64],
        tokens_per_batch: int,
        max_tokens: int,
    ) -> None:
        self._engine = engine
        kept, spent = 0, 0
        while kept < len(documents) and spent < max_tokens:
            spent += len(documents[kept])
            kept += 1
        self._documents = documents[:kept]
        self._bytes = sum(
            int(bytes_per_token[d.ids[1:][d.supervised[1:]]].sum()) for d in self._documents
        )
        self._tokens_per_batch = tokens_per_batch

    def __call__(self) -> float | None:
        if not self._documents or not self._bytes:
            return None
        stream = Stream([len(d) for d in self._documents], self._tokens_per_batch, seed=0)
        nats = 0.0
        with torch.no_grad():
            for indices in stream.epoch(0):
                own = self._engine.mine(self._documents, indices)
                log_probs, _, _ = self._engine.log_probs(own)
                nats -= float(log_probs.double().sum())
        return self._engine.world.sum([nats])[0] / float(np.log(2)) / self._bytes
