"""The early FAIL: evidence against a candidate that may be looked at after every item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stats_sequential import NUM_BETS, loss_e_process

ONE_LOSS = [0.95 * k / NUM_BETS for k in range(1, NUM_BETS + 1)]  # the bets


def test_one_item_multiplies_each_bet_by_hand() -> None:
    """Margin .1, reach 1: an excess of d + .1 over 1.1; the mean over bets of 1 - bet * excess."""
    [lost] = loss_e_process([-1.0], margin=0.1)
    [won] = loss_e_process([1.0], margin=0.1)
    assert lost == pytest.approx(np.mean([1 + bet * 0.9 / 1.1 for bet in ONE_LOSS]))
    assert won == pytest.approx(np.mean([1 - bet for bet in ONE_LOSS]))


def test_items_of_one_cluster_are_one_bet_on_their_sum() -> None:
    found = loss_e_process(
        [-1.0, -1.0, 0.0], ["a", "a", "b"], margin=0.1, largest_cluster=2
    )  # fmt: skip
    first = [1 + bet * 1.8 / 2.2 for bet in ONE_LOSS]
    second = [one * (1 - bet * 0.1 / 2.2) for one, bet in zip(first, ONE_LOSS, strict=True)]
    assert found == pytest.approx([np.mean(first), np.mean(second)])


def test_nothing_to_look_at_is_no_evidence() -> None:
    assert loss_e_process([], margin=0.1).tolist() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": 1.0}, "a margin lies in"),
        ({"margin": 0.1, "reach": 0.5}, "beyond the reach of 0.5"),
        ({"margin": 0.1, "clusters": ["a", "a"]}, "a cluster has 2 items, 1 were stated"),
    ],
)
def test_what_would_break_the_bets_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_e_process([-1.0, 1.0], **arguments)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=40))
def test_evidence_is_never_negative_and_grows_when_a_win_becomes_a_loss(
    differences: list[float],
) -> None:
    found = loss_e_process(differences, margin=0.05)
    assert (found > 0).all()
    worse = loss_e_process([-1.0, *differences[1:]], margin=0.05)
    assert worse[-1] >= found[-1] - 1e-12


def test_at_the_margin_it_is_expected_to_stay_at_one() -> None:
    """An e-process has expectation at most 1: here exactly 1, over all outcomes of two items."""
    margin, discordance = 0.1, 0.5
    chances = {
        -1.0: (discordance + margin) / 2,
        0.0: 1 - discordance,
        1.0: (discordance - margin) / 2,
    }
    expected = sum(
        p * q * loss_e_process([d, e], margin=margin)[-1]
        for d, p in chances.items()
        for e, q in chances.items()
    )
    assert expected == pytest.approx(1.0)
