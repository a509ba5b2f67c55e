"""How long measuring will take: a few answers and sentences of the checkpoint, timed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from eval.policy import Entry
from eval.resume import Pool
from eval.runner import Sampling

NUM_PROBES = 32
PROBE_TOKENS = 64
SENTENCES_OF_AN_ITEM = 2  # a pair; a choice among more costs more
SUBJECTS = ("order", "refund", "parcel", "invoice")


def estimate(entries: Sequence[Entry], num_items: Mapping[str, int], pool: Pool) -> float:
    """Seconds to measure the entries. Rough: answers differ in length from the probes, and
    entries that ask the same share their answers; the progress bar knows better as it goes."""
    answering = [entry for entry in entries if _max_tokens(entry) is not None]
    seconds = 0.0
    if answering:
        prompts = [f"Where is my {_subject(i)} number {i}?" for i in range(NUM_PROBES)]
        sampling = Sampling(max_tokens=PROBE_TOKENS)
        each = _timed(pool, "completions", prompts, sampling) / NUM_PROBES
        for entry in answering:
            length = min((_max_tokens(entry) or PROBE_TOKENS) / PROBE_TOKENS, 1.0)
            samples = getattr(entry.config, "samples", 1)
            seconds += each * length * samples * num_items[entry.name]
    scoring = [entry for entry in entries if _max_tokens(entry) is None]
    if scoring:
        sentences = [
            ("", f"The customer asked about {_subject(i)} {i}.") for i in range(NUM_PROBES)
        ]
        each = _timed(pool, "continuations", sentences, None) / NUM_PROBES
        for entry in scoring:
            seconds += each * SENTENCES_OF_AN_ITEM * num_items[entry.name]
    return seconds


def _subject(index: int) -> str:
    return SUBJECTS[index % len(SUBJECTS)]


def _max_tokens(entry: Entry) -> int | None:
    """Of an entry whose check has the model write; None where it only scores texts."""
    value = getattr(entry.config, "max_tokens", None)
    return value if isinstance(value, int) else None


def _timed(pool: Pool, method: str, requests: Sequence[Any], sampling: Sampling | None) -> float:
    began = time.monotonic()
    for _ in pool.run(method, [requests], sampling):
        pass
    return time.monotonic() - began
