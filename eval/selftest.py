"""Regressions planted on purpose: a gate that was never seen to refuse is decoration.

Each plant takes the champion and changes one thing about it that a good policy must
notice, or must not: weights with noise of a millionth are the same model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.checks import BenchmarkConfig
from eval.policy import Entry, Policy
from eval.resume import LocalPool, Pool
from eval.runner import Answer, Sampling, open_runner
from registry.checkpoint import Lineage, Manifest, publish
from registry.records import Record, UserError
from registry.verdict import Status, Verdict

WORDS_LEFT = 2  # of a truncated answer


class SelftestError(UserError):
    """The policy has nothing in which the regression could be planted."""


class Planted(Record):
    """One regression, what the gate must say of it, and what it said."""

    plant: str
    expected: tuple[Status, ...]
    status: Status | None
    """None where it could not be planted."""
    reason: str

    @property
    def caught(self) -> bool:
        return self.status in self.expected


@dataclass(frozen=True)
class Plant:
    """``expected`` are the verdicts that are right."""

    name: str
    says: str
    expected: tuple[Status, ...]


REFUSED = (Status.FAIL, Status.INVALID)
SAME = Plant("same", "the champion against itself", (Status.INVALID,))
COPY = Plant("copy", "weights with noise of a millionth", (Status.PASS,))
NOISED = Plant("noised", "weights with noise of half their spread", REFUSED)
TRUNCATED = Plant("truncated", f"answers cut after {WORDS_LEFT} words", REFUSED)
LEAKED = Plant("leaked", "the items stand in the training data", REFUSED)
SWAPPED = Plant("swapped", "benchmarks with another choice as the right one", REFUSED)
PLANTS = (SAME, COPY, NOISED, TRUNCATED, LEAKED, SWAPPED)


def outcome(plant: Plant, verdict: Verdict) -> Planted:
    """What the gate said, with the first reason that speaks for it."""
    said = verdict.reasons or tuple(
        f"{finding.entry}: {finding.reason}" for finding in verdict.findings
    )
    return Planted(plant=plant.name, expected=plant.expected, status=verdict.status, reason=said[0])


def noisy_copy(
    source: Path, destination: Path, *, scale: float, seed: int = 0, name: str, parent: str
) -> Manifest:
    """Publish a checkpoint with normal noise on its weight matrices, in float32.

    ``scale`` is in standard deviations of each matrix; vectors stay as they are.
    """
    import torch
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(seed)
    staging = destination.with_name(f".{destination.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        ignored = shutil.ignore_patterns("manifest.json", "hallmark.json", "snapshots")
        shutil.copytree(source, staging, ignore=ignored)
        weights = load_file(staging / "model.safetensors")
        noisy = {}
        for key, value in weights.items():
            value = value.float()
            if value.ndim == 2:
                value = value + scale * value.std() * torch.randn(value.shape, generator=generator)
            noisy[key] = value.contiguous()
        save_file(noisy, staging / "model.safetensors", metadata={"format": "pt"})
        return publish(
            staging, destination, Lineage(name=name, stage="import", parent_digest=parent)
        )
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class TruncatingPool(LocalPool):
    """A checkpoint that stops talking after a few words."""

    def run(
        self, method: str, shards: Sequence[Sequence[Any]], sampling: Sampling | None
    ) -> Iterator[tuple[int, list[Any]]]:
        for index, results in super().run(method, shards, sampling):
            yield index, [_cut(one) if isinstance(one, Answer) else one for one in results]


def _cut(answer: Answer) -> Answer:
    return Answer(" ".join(answer.split()[:WORDS_LEFT]), answer.unscored)


def truncating(folder: Path) -> Pool:
    return TruncatingPool(open_runner(folder))


def swapped_labels(policy: Policy, folder: Path) -> Policy:
    """The policy over benchmark files in which another answer counts as right.

    Raises SelftestError where no required entry is a benchmark of rows.
    """
    swapped = 0
    entries: list[Entry] = []
    for entry in policy.entries:
        config = entry.config
        if isinstance(config, BenchmarkConfig) and config.kind in _SWAPS:
            path = folder / f"{entry.name}.jsonl"
            lines = config.data.read_text(encoding="utf-8").split("\n")
            rows = [json.loads(line) for line in lines if line.strip()]
            swap = _SWAPS[config.kind]
            path.write_text("".join(json.dumps(swap(row)) + "\n" for row in rows))
            entry = replace(entry, config=config.model_copy(update={"data": path}))
            swapped += entry.rule.tier == "required"
        entries.append(entry)
    if not swapped:
        raise SelftestError("no required entry is a benchmark whose labels could be swapped")
    return replace(policy, entries=tuple(entries))


def _other_choice(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"gold": (row["gold"] + 1) % len(row["choices"])}


def _other_sentence(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"good": row["bad"], "bad": row["good"]}


_SWAPS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "multiple_choice": _other_choice,
    "minimal_pairs": _other_sentence,
}
