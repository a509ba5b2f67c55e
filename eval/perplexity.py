"""Bits per byte of held-out documents, one item per document.

A conversation is a document too: as the chat template renders it, so that what is
measured is the text that the model meets when it serves.
"""

from __future__ import annotations

import math

from eval.checks import BitsPerByteConfig, Measured
from eval.rows import Document, RowsError, read_rows
from eval.runner import Runner
from registry.evidence import Item
from registry.records import digest_of


def measure(runner: Runner, config: BitsPerByteConfig) -> Measured:
    rows = read_rows(config.data, Document, limit=config.max_documents)
    texts = [_text(runner, row) for row in rows]
    for row, text in zip(rows, texts, strict=True):
        if not text:
            raise RowsError(f"{config.data}: document {row.id!r} is empty; remove it")
    # The sum over all tokens; dividing happens last, over all documents together.
    bits = [-nats / math.log(2) for nats in runner.documents(texts)]
    items = tuple(
        Item(
            key=row.id,
            content_hash=digest_of({"text": text}),
            value=value,
            weight=float(len(text.encode())),
            cluster=row.cluster,
            group=row.group or row.source,
        )
        for row, text, value in zip(rows, texts, bits, strict=True)
    )
    num_bytes = sum(item.weight or 0.0 for item in items)
    num_tokens = sum(runner.count_tokens(texts))
    return Measured(
        items,
        summary={
            "bits_per_byte": sum(bits) / num_bytes,
            "token_perplexity": _perplexity(sum(bits), num_tokens),
            "documents": float(len(items)),
            "bytes": num_bytes,
            "tokens": float(num_tokens),
        },
        tables={"by_group": _by_group(items)},
    )


def _text(runner: Runner, row: Document) -> str:
    if row.messages is not None:
        return runner.render(row.messages, answer_next=False)
    return row.text or ""


def _perplexity(bits: float, num_tokens: int) -> float | None:
    """2 to the bits per token; None where there is no token or the number overflows."""
    per_token = bits / num_tokens if num_tokens else math.inf
    return 2.0**per_token if per_token < 1000 else None


def _by_group(items: tuple[Item, ...]) -> dict[str, dict[str, float]]:
    sums: dict[str, list[float]] = {}
    for item in items:
        entry = sums.setdefault(item.group or "all", [0.0, 0.0, 0.0])
        entry[0] += item.value or 0.0
        entry[1] += item.weight or 0.0
        entry[2] += 1
    return {
        group: {"bits_per_byte": bits / size, "documents": count}
        for group, (bits, size, count) in sorted(sums.items())
    }
