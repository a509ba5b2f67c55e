"""How long measuring will take: what the checks ask for, counted, times a probe's pace."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from eval.policy import Entry
from eval.resume import Pool
from eval.runner import Forgetful, Sampling
from registry.conversation import Message
from registry.records import digest_of

MOST_PROBES = 128  # requests of a kind, asked to learn the pace: batches as full as they will be
EVERY = 4  # at most one request in so many is asked
NUM_WARM_UP = 2


class _Asked(Exception):
    """A check has said what it wants; nothing is measured here."""


class _Counting(Forgetful):
    """A runner that notes the distinct requests of a check's first question, as a measurement
    would ask them, and stops the check there."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.facts = pool.facts
        self.render = pool.render
        self.count_tokens = pool.count_tokens
        self.asked: dict[tuple[str, Sampling | None], dict[str, Any]] = {}
        """By method and sampling: the requests, by their digest."""

    def continuations(self, requests: Sequence[tuple[str, str]]) -> Any:
        return self._note("continuations", requests, [list(request) for request in requests])

    def documents(self, texts: Sequence[str]) -> Any:
        return self._note("documents", texts, texts)

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> Any:
        plain = [[message.model_dump() for message in dialogue] for dialogue in dialogues]
        return self._note("answers", dialogues, plain, sampling)

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> Any:
        return self._note("completions", prompts, prompts, sampling)

    def _note(
        self,
        method: str,
        requests: Sequence[Any],
        plain: Sequence[Any],
        sampling: Sampling | None = None,
    ) -> Any:
        # drawn samples of one prompt are requests of their own, greedy answers are shared
        drawn = sampling is not None and sampling.temperature > 0
        asked = self.asked.setdefault((method, sampling), {})
        for place, (request, body) in enumerate(zip(requests, plain, strict=True)):
            asked[digest_of([body, place if drawn else 0])] = request
        raise _Asked


def estimate(entries: Sequence[Entry], pool: Pool) -> float:
    """Seconds to measure the entries, from some of their own requests. Rough: it counts each
    check's first question to the model; the progress bar knows better as it goes."""
    counting = _Counting(pool)
    for entry in entries:
        if entry.row.needs_model:
            try:
                entry.row.measure(counting, entry.config)
            except _Asked:
                continue
    seconds = 0.0
    for (method, sampling), asked in counting.asked.items():
        requests = list(asked.values())
        some = requests[:: max(EVERY, math.ceil(len(requests) / MOST_PROBES))]
        _seconds(pool, method, some[:NUM_WARM_UP], sampling)
        seconds += _seconds(pool, method, some, sampling) / len(some) * len(requests)
    return seconds


def _seconds(pool: Pool, method: str, some: Sequence[Any], sampling: Sampling | None) -> float:
    began = time.monotonic()
    for _ in pool.run(method, [some], sampling):
        pass
    return time.monotonic() - began
