"""The only code that runs a published checkpoint offline.

``Runner`` is the seam: checks and audits ask it for log-likelihoods and answers and
know nothing of torch. ``open_runner`` gives the real one (``eval.torch_runner``),
``FakeRunner`` is its double for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from registry.conversation import Message
from registry.evidence import ModelFacts
from registry.records import UserError


class RunnerError(UserError):
    """The checkpoint cannot do what was asked: no chat template, text over its context, NaN."""


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


class Answer(str):
    """What the model said, as text. ``unscored`` says why there is nothing to judge, else None.

    The one reason is a prompt that leaves no room for ``max_tokens`` in the context:
    it depends on the prompt alone, so both sides of a comparison lose the same items.
    """

    unscored: str | None

    def __new__(cls, text: str = "", unscored: str | None = None) -> Answer:
        answer = super().__new__(cls, text)
        answer.unscored = unscored
        return answer


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

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[Answer]:
        """The assistant's next message after each dialogue, through the chat template."""
        ...

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> list[Answer]:
        """Plain text continuations of plain prompts."""
        ...

    def render(self, dialogue: Sequence[Message], *, answer_next: bool) -> str:
        """The dialogue as the model sees it; ``answer_next`` opens the assistant's turn."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens ``documents`` predicts in each text."""
        ...

    def recall(self, key: str) -> Any:
        """What an interrupted run of this measurement noted under ``key``, else None."""
        ...

    def note(self, said: Mapping[str, Any], done: int, total: int) -> None:
        """Keep what others than the model said, JSON by key, until the measurement is over.

        ``done`` of ``total`` requests to them have been answered.
        """
        ...


class Forgetful:
    """Notes nothing: for a runner by itself, whose measurement is never resumed."""

    def recall(self, key: str) -> Any:
        return None

    def note(self, said: Mapping[str, Any], done: int, total: int) -> None:
        """Nothing to keep it for."""


def open_runner(folder: Path, base: Path | None = None) -> Runner:
    """Load a published checkpoint for measuring; an adapter with the folder of its ``base``.

    Raises CheckpointError where it is none.
    """
    from eval.torch_runner import TorchRunner

    return TorchRunner(folder, base=base)


class FactsOnly:
    """The runner of a check that needs no model: whose weights are meant, and nothing else.

    Backend and the like are ``none``, the same on both sides of a comparison.
    """

    def __init__(self, weights_digest: str) -> None:
        self.facts = ModelFacts(
            weights_digest=weights_digest,
            backend="none",
            dtype="none",
            context_length=0,
            chat_template_digest="none",
        )

    def _refuse(self, *asked: object, **settings: object) -> Any:
        raise RunnerError("this check said that it needs no model; set needs_model in its row")

    continuations = documents = answers = completions = render = count_tokens = _refuse
    recall = note = _refuse


FAKE_FACTS = ModelFacts(
    weights_digest="sha256:" + "0" * 64,
    backend="fake",
    dtype="float32",
    context_length=512,
    chat_template_digest="sha256:" + "1" * 64,
)


@dataclass
class FakeRunner(Forgetful):
    """A scripted runner: functions stand for the model. ``calls`` counts what was asked of it.

    By default every character costs one nat and every answer is ``ok``.
    """

    score: Callable[[str, str], float] = lambda context, continuation: -float(len(continuation))
    greedy: Callable[[str, str], bool] = lambda context, continuation: False
    reply: Callable[[str], str] = lambda prompt: "ok"
    facts: ModelFacts = FAKE_FACTS
    calls: int = 0

    def continuations(self, requests: Sequence[tuple[str, str]]) -> list[Continuation]:
        self.calls += 1
        return [Continuation(self.score(*r), self.greedy(*r), len(r[1])) for r in requests]

    def documents(self, texts: Sequence[str]) -> list[float]:
        self.calls += 1
        return [self.score("", text) for text in texts]

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[Answer]:
        prompts = [self.render(dialogue, answer_next=True) for dialogue in dialogues]
        return self.completions(prompts, sampling)

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> list[Answer]:
        self.calls += 1
        limit = self.facts.context_length
        return [
            Answer("", "the prompt fills the context")
            if len(prompt) > limit
            else Answer(self.reply(prompt)[: sampling.max_tokens])
            for prompt in prompts
        ]

    def render(self, dialogue: Sequence[Message], *, answer_next: bool) -> str:
        lines = [f"{message.role}: {message.content}\n" for message in dialogue]
        return "".join(lines) + ("assistant: " if answer_next else "")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]
