"""The only code that runs a published checkpoint offline.

``Runner`` is the seam: checks and audits ask it for log-likelihoods and answers and
know nothing of torch. ``open_runner`` gives the real one (``eval.torch_runner``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.conversation import Message
from registry.evidence import ModelFacts


@dataclass(frozen=True)
class Continuation:
    """Log-likelihood of a continuation after its context: nats, and whether greedy says it."""

    logprob: float
    greedy: bool
    num_tokens: int


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Temperature 0 is greedy; the seed fixes the draws."""

    max_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()


class Runner(Protocol):
    """One loaded checkpoint. All sequences keep their order; NaN never leaves: it raises."""

    @property
    def facts(self) -> ModelFacts: ...

    def continuations(self, requests: Sequence[tuple[str, str]]) -> list[Continuation]:
        """Score each (context, continuation). An empty context is the end-of-text token."""
        ...

    def documents(self, texts: Sequence[str]) -> list[float]:
        """Rolling log-likelihood of each whole text, in nats (<= 0), beyond the context too."""
        ...

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[str]:
        """The assistant's next message after each dialogue, through the chat template."""
        ...

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        """Plain text continuations of plain prompts."""
        ...


def open_runner(folder: Path) -> Runner:
    """Load a published checkpoint for measuring; raises CheckpointError where it is not one."""
    from eval.torch_runner import TorchRunner

    return TorchRunner(folder)
