"""Lay sequences out so that what they share is computed once: pure, no torch.

A ``Row`` is one scored sequence: input tokens, and the targets that its last
positions predict. Rows that begin alike (the choices of one question, sentences with
the same first words) are the branches of one tree of tokens, laid out depth first:
each token sees its ancestors and nothing else, at the position it would have had alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Attention costs the square of a packed length, so trees of short rows end here.
SHORT_TREE_TOKENS = 64


@dataclass(frozen=True)
class Row:
    """``inputs[-len(targets):]`` are the tokens whose next token is scored."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass
class Packed:
    """A tree of tokens, depth first. Token ``j`` sees token ``i`` where ``i <= j < ends[i]``.

    ``places``, ``targets`` and ``owners`` go together: the token in this place predicts
    that target for the row of that index.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    rows: int = 0

    def __len__(self) -> int:
        return len(self.tokens)


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
    """Lay all rows out in trees, longest first.

    Rows are taken in the order of their tokens, so equal beginnings are neighbours. A row
    joins its neighbours' tree while that is short, or where it shares a quarter of its
    tokens with them. A tree may be longer than the model's context, for no position in it
    is; it stays under twice that. Without ``share`` every row is a tree of its own.
    """
    trees: list[Packed] = []
    path: list[int] = []  # places in the last tree of the last row's tokens
    before: tuple[int, ...] = ()
    for index in sorted(range(len(rows)), key=lambda i: rows[i].inputs):
        row = rows[index]
        kept = shared_prefix(before, row.inputs) if share and trees else 0
        if trees and _joins(len(trees[-1]), kept, len(row.inputs), max_length) and share:
            tree = trees[-1]
        else:
            if trees:
                _close(trees[-1], path, 0)
            tree, kept, path = Packed(), 0, []
            trees.append(tree)
        _close(tree, path, kept)
        path[kept:] = range(len(tree), len(tree) + len(row.inputs) - kept)
        tree.tokens += row.inputs[kept:]
        tree.positions += range(kept, len(row.inputs))
        tree.ends += [0] * (len(row.inputs) - kept)
        tree.places += path[-len(row.targets) :]
        tree.targets += row.targets
        tree.owners += [index] * len(row.targets)
        tree.rows += 1
        before = row.inputs
    if trees:
        _close(trees[-1], path, 0)
    return sorted(trees, key=lambda tree: -len(tree))


def _joins(length: int, kept: int, row: int, max_length: int) -> bool:
    longer = length + row - kept
    if longer <= min(SHORT_TREE_TOKENS, 2 * max_length):
        return True
    return kept >= max(2, row // 4) and longer <= 2 * max_length


def _close(tree: Packed, path: Sequence[int], kept: int) -> None:
    """No later token sees those of the path behind its first ``kept``."""
    for place in path[kept:]:
        tree.ends[place] = len(tree)


def batches(trees: Sequence[Packed], *, token_budget: int) -> Iterator[list[Packed]]:
    """Runs of similar length whose padded size stays within the budget; at least one each."""
    batch: list[Packed] = []
    for tree in trees:
        if batch and (len(batch) + 1) * len(batch[0]) > token_budget:
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch
