"""Bits per byte of held-out documents, one item per document.

A conversation is a document too: as the chat template renders it, so that what is
measured is the text that the model meets when it serves; or, with ``scope: answers``,
only what the assistant says in it, which is all that a fine-tuned model was taught.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eval.checks import BitsPerByteConfig, Measured
from eval.rows import Document, RowsError, read_rows
from eval.runner import Runner
from registry.evidence import Item
from registry.records import digest_of


@dataclass(frozen=True)
class _Scored:
    """One document: what was scored, its total nats (<= 0), and how many tokens that were."""

    text: str
    nats: float
    num_tokens: int


def measure(runner: Runner, config: BitsPerByteConfig) -> Measured:
    rows = read_rows(config.data, Document, limit=config.max_documents)
    score = _answers if config.scope == "answers" else _everything
    scored = score(runner, rows)
    for row, one in zip(rows, scored, strict=True):
        if not one.text:
            raise RowsError(f"{config.data}: document {row.id!r} is empty; remove it")
    # The sum over all tokens; dividing happens last, over all documents together.
    bits = [-one.nats / math.log(2) for one in scored]
    items = tuple(
        Item(
            key=row.id,
            content_hash=digest_of({"text": _text(runner, row)}),
            value=value,
            weight=float(len(one.text.encode())),
            cluster=row.cluster,
            group=row.group or row.source,
        )
        for row, one, value in zip(rows, scored, bits, strict=True)
    )
    num_bytes = sum(item.weight or 0.0 for item in items)
    num_tokens = sum(one.num_tokens for one in scored)
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


def _everything(runner: Runner, rows: Sequence[Document]) -> list[_Scored]:
    texts = [_text(runner, row) for row in rows]
    counts = runner.count_tokens(texts)
    return list(map(_Scored, texts, runner.documents(texts), counts))


def _answers(runner: Runner, rows: Sequence[Document]) -> list[_Scored]:
    """The assistant's messages of each conversation, each after what came before it."""
    requests, owners = [], []
    for index, row in enumerate(rows):
        messages = row.messages or ()
        for turn, message in enumerate(messages):
            if message.role == "assistant":
                context = runner.render(messages[:turn], answer_next=True)
                requests.append((context, message.content))
                owners.append(index)
    said, nats, tokens = [""] * len(rows), [0.0] * len(rows), [0] * len(rows)
    for owner, request, found in zip(owners, requests, runner.continuations(requests), strict=True):
        said[owner] += request[1]
        nats[owner] += found.logprob
        tokens[owner] += found.num_tokens
    return list(map(_Scored, said, nats, tokens))


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
