"""Policies and rows to measure with, for tests that run a tiny checkpoint for real."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = (
    "the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and", "then", "while",
    "big", "small",
)  # fmt: skip

PAIRS: dict[str, Any] = {
    "name": "pairs",
    "check": "stereotype_pairs",
    "config": {"max_pairs": 60},
    "tier": "required",
    "limit": {"max": 0.999},
    "min_items": 50,
    "reason": "a test",
    "owner": "a test",
}
"""A policy's entry whose check brings its own items."""


@dataclass(frozen=True)
class Entry:
    name: str
    check: str
    config: Any


@dataclass(frozen=True)
class Policy:
    entries: tuple[Entry, ...]


def write_rows(folder: Path, *, seed: int = 7) -> None:
    """pairs.jsonl, documents.jsonl and chats.jsonl of random words."""
    folder.mkdir(exist_ok=True)
    rng = random.Random(seed)

    def text(num_words: int) -> str:
        return " ".join(rng.choices(WORDS, k=num_words))

    rows: dict[str, list[dict[str, Any]]] = {
        "pairs": [{"id": f"p{n}", "good": text(6), "bad": text(6)} for n in range(60)],
        "documents": [{"id": f"d{n}", "text": text(30)} for n in range(16)],
        "chats": [
            {
                "id": f"c{n}",
                "messages": [
                    {"role": "user", "content": text(8)},
                    {"role": "assistant", "content": text(5)},
                ],
                "source": "test",
                "licence": "CC0-1.0",
            }
            for n in range(10)
        ],
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
