"""Lay sequences out so that what they share is computed once: pure, no torch.

A ``Row`` is one scored sequence: input tokens, and the targets that its last
positions predict. Rows that begin alike (the choices of one question, the two
sentences of a minimal pair) are laid behind one trunk, each in a segment that sees
the trunk and itself and nothing else, at the positions it would have had alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAX_PACKED_ROWS = 64


@dataclass(frozen=True)
class Row:
    """``inputs[-len(targets):]`` are the tokens whose next token is scored."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass
class Packed:
    """Rows behind one trunk of ``trunk`` tokens. ``rows`` are indices into the row list."""

    trunk: int
    rows: list[int] = field(default_factory=list)
    length: int = 0


def row_of(context: Sequence[int], continuation: Sequence[int], max_length: int) -> Row:
    """A row whose context is cut from the left where it is longer than the model's.

    Raises ValueError where the continuation alone does not fit, or one side is empty.
    Source: lm_eval.models.huggingface.HFLM._loglikelihood_tokens, lm-eval 0.4.13.
    """
    if not context or not continuation:
        raise ValueError("has an empty context or continuation after tokenisation")
    if len(continuation) > max_length:
        raise ValueError(
            f"has a continuation of {len(continuation)} tokens, over the context of {max_length}"
        )
    whole = (*context, *continuation)[-(max_length + 1) :]
    return Row(whole[:-1], tuple(continuation))


def rolling_windows(
    tokens: Sequence[int], prefix: int, max_length: int
) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """(context, continuation) windows that predict each token once; nothing for no tokens.

    Windows do not overlap but for one token of context, and the last is filled up to
    the left. Source: lm_eval.utils.get_rolling_token_windows with context_len=1 and
    make_disjoint_window, lm-eval 0.4.13.
    """
    for start in range(0, len(tokens), max_length):
        end = min(start + max_length, len(tokens))
        if start == 0:
            yield (prefix,), tokens[:end]
        else:
            yield tokens[end - max_length - 1 : start], tokens[start:end]


def shared_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens with which both begin."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(i for i in range(length) if one[i] != other[i])


def pack(rows: Sequence[Row], *, share: bool, max_length: int) -> list[Packed]:
    """Group rows that begin alike wherever that saves tokens; longest first.

    Rows are looked at in the order of their tokens, so equal beginnings are
    neighbours. A packed sequence may be longer than the model's context, for no
    position in it is; it stays under twice that.
    """
    groups: list[Packed] = []
    order = sorted(range(len(rows)), key=lambda i: rows[i].inputs)
    for index in order:
        tokens = rows[index].inputs
        if share and groups and len(groups[-1].rows) < MAX_PACKED_ROWS:
            group = groups[-1]
            others = len(group.rows) - 1
            trunk = min(group.trunk, shared_prefix(rows[group.rows[-1]].inputs, tokens))
            saved = trunk - others * (group.trunk - trunk)
            length = group.length + len(tokens) - saved
            if saved >= max(2, len(tokens) // 4) and length <= 2 * max_length:
                group.rows.append(index)
                group.trunk, group.length = trunk, length
                continue
        groups.append(Packed(trunk=len(tokens), rows=[index], length=len(tokens)))
    return sorted(groups, key=lambda group: -group.length)


def batches(groups: Sequence[Packed], *, token_budget: int) -> Iterator[list[Packed]]:
    """Runs of similar length whose padded size stays within the budget; at least one each."""
    batch: list[Packed] = []
    for group in groups:
        if batch and (len(batch) + 1) * batch[0].length > token_budget:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch
