"""Documents into batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.packing import Document, Stream, collate, group_by_length, pieces, text_document


def document(*ids: int, first_supervised: int = 0) -> Document:
    supervised = np.arange(len(ids)) >= first_supervised
    return Document(np.asarray(ids, dtype=np.int32), supervised)


def test_a_position_predicts_the_next_token_and_padding_is_not_supervised() -> None:
    batch = collate([document(5, 6, 7), document(8, 9, first_supervised=1)], pad=0)
    assert batch.ids_BT[:, :3].tolist() == [[5, 6, 0], [8, 0, 0]]
    assert batch.targets_BT[:, :3].tolist() == [[6, 7, 0], [9, 0, 0]]
    assert batch.supervised_BT.sum(axis=1).tolist() == [2, 1]
    assert batch.ids_BT.shape == (2, 8)


def test_a_text_stands_between_end_of_text_tokens() -> None:
    assert text_document(np.asarray([4, 5], dtype=np.int32), 0).ids.tolist() == [0, 4, 5, 0]


def test_pieces_make_every_token_but_the_first_a_target_once() -> None:
    whole = document(*range(10))
    parts = list(pieces(whole, 4))
    assert [part.ids.tolist() for part in parts] == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9]]
    targets = [token for part in parts for token in part.ids[1:].tolist()]
    assert targets == list(range(1, 10))


def test_a_piece_with_nothing_to_learn_is_dropped() -> None:
    parts = list(pieces(document(*range(10), first_supervised=9), 4))
    assert [part.ids.tolist() for part in parts] == [[8, 9]]


@given(
    st.lists(st.integers(2, 60), min_size=1, max_size=200),
    st.integers(60, 300),
    st.integers(0, 5),
)
def test_an_epoch_holds_every_document_once_and_keeps_the_budget(
    lengths: list[int], budget: int, seed: int
) -> None:
    batches = group_by_length(lengths, budget, np.random.default_rng(seed))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert max(lengths[i] for i in batch) * len(batch) <= budget


def test_padding_is_under_two_percent_of_conversations_of_mixed_lengths() -> None:
    lengths = np.random.default_rng(0).integers(60, 300, size=5000).tolist()
    batches = group_by_length(lengths, 8192, np.random.default_rng(1))
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert 1 - sum(lengths) / padded < 0.02


def test_the_batch_of_a_step_does_not_depend_on_which_were_asked_before() -> None:
    lengths = [10, 20, 30, 40, 50]
    forward = [Stream(lengths, 60, seed=3).indices(step) for step in range(12)]
    stream = Stream(lengths, 60, seed=3)
    backward = [stream.indices(step) for step in reversed(range(12))]
    assert forward == backward[::-1]


def test_epochs_differ_and_each_is_complete() -> None:
    stream = Stream([10] * 6, 20, seed=0)
    epochs = [[stream.indices(step) for step in range(3 * e, 3 * e + 3)] for e in range(3)]
    for epoch in epochs:
        assert sorted(index for batch in epoch for index in batch) == list(range(6))
    assert epochs[0] != epochs[1]


def test_a_stream_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one document"):
        Stream([], 10, seed=0)
