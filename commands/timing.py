"""How long measuring will take: what the checks ask for, counted, times a probe's pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from eval.policy import Entry
from eval.resume import Pool
from eval.runner import Forgetful, Sampling
from registry.conversation import Message
from registry.records import digest_of

NUM_PROBES = 32
PROBE_TOKENS = 64
SUBJECTS = ("order", "refund", "parcel", "invoice")


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
        self.written: dict[str, dict[str, int]] = {"answers": {}, "completions": {}}
        """``max_tokens`` of each request by its digest, of each way to ask for text."""
        self.scored: set[str] = set()

    def continuations(self, requests: Sequence[tuple[str, str]]) -> Any:
        return self._score([list(request) for request in requests])

    def documents(self, texts: Sequence[str]) -> Any:
        return self._score(list(texts))

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> Any:
        return self._write("answers", [[m.model_dump() for m in d] for d in dialogues], sampling)

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> Any:
        return self._write("completions", list(prompts), sampling)

    def _score(self, requests: Sequence[Any]) -> Any:
        self.scored |= {digest_of({"request": request}) for request in requests}
        raise _Asked

    def _write(self, method: str, requests: Sequence[Any], sampling: Sampling) -> Any:
        how = vars(sampling)
        for place, request in enumerate(requests):
            # drawn samples of one prompt are requests of their own, greedy answers are shared
            copy = place if sampling.temperature > 0 else 0
            digest = digest_of({"request": request, "how": how, "copy": copy})
            self.written[method][digest] = sampling.max_tokens
        raise _Asked


def estimate(entries: Sequence[Entry], pool: Pool) -> float:
    """Seconds to measure the entries. Rough: it counts each check's first question to the model,
    and answers differ in length from the probe's; the progress bar knows better as it goes."""
    counting = _Counting(pool)
    for entry in entries:
        if entry.row.needs_model:
            try:
                entry.row.measure(counting, entry.config)
            except _Asked:
                continue
    seconds = 0.0
    prompts = [f"Where is my {_subject(i)} number {i}?" for i in range(NUM_PROBES)]
    probes: dict[str, list[Any]] = {
        "answers": [[Message(role="user", content=prompt)] for prompt in prompts],
        "completions": prompts,  # which go on where an answer would end
    }
    sampling = Sampling(max_tokens=PROBE_TOKENS)
    for method, asked in counting.written.items():
        if asked:
            each = _timed(partial(pool.run, method, [probes[method]], sampling)) / NUM_PROBES
            seconds += sum(each * min(tokens / PROBE_TOKENS, 1.0) for tokens in asked.values())
    if counting.scored:
        sentences = [("", f"They asked about {_subject(i)} {i}.") for i in range(NUM_PROBES)]
        each = _timed(lambda: pool.run("continuations", [sentences], None)) / NUM_PROBES
        seconds += each * len(counting.scored)
    return seconds


def _subject(index: int) -> str:
    return SUBJECTS[index % len(SUBJECTS)]


def _timed(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    for _ in work():
        pass
    return time.monotonic() - began
