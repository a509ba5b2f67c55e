"""Strengths from votes, and a shadow beside the answers that it copied."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from monitoring.inference import always_valid_share
from monitoring.pairwise import Pair, bradley_terry, read_pairs

VOTES = {
    ("a", "b"): 7, ("b", "a"): 3, ("a", "c"): 8, ("c", "a"): 2, ("b", "c"): 6, ("c", "b"): 4,
}  # fmt: skip


def test_bradley_terry_agrees_with_the_maximum_likelihood():
    # statistics.md, part B: a>b 7-3, a>c 8-2, b>c 6-4.
    strengths = bradley_terry(VOTES)
    assert list(strengths.values()) == pytest.approx([0.740570, -0.149102, -0.591468], abs=5e-7)
    assert sum(strengths.values()) == pytest.approx(0, abs=1e-12)


def test_bradley_terry_agrees_with_a_general_optimizer():
    index = {"a": 0, "b": 1, "c": 2}

    def loss(x: np.ndarray) -> float:
        return sum(
            count * np.log1p(np.exp(x[index[loser]] - x[index[winner]]))
            for (winner, loser), count in VOTES.items()
        )

    found = optimize.minimize(loss, np.zeros(3), tol=1e-12).x
    assert list(bradley_terry(VOTES).values()) == pytest.approx(found - found.mean(), abs=1e-5)


def test_bradley_terry_refuses_a_player_that_never_lost():
    with pytest.raises(ValueError, match="do not connect"):
        bradley_terry({("a", "b"): 3})


def test_pairs_of_one_unit_are_one_voice():
    # Ann's two pairs differ by 2 and 0, Bob's one by -1: the mean over units is (1 - 1) / 2.
    pairs = [Pair("ann", 1, 3), Pair("ann", 2, 2), Pair("bob", 5, 4)]
    found = read_pairs("completion_tokens", "c", pairs)
    assert (found.num_pairs, found.num_units) == (3, 2)
    assert found.difference == 0.0
    # Ann: one higher and one tie, 0.75; Bob: lower, 0.
    assert found.higher_share == 0.375
    assert found.interval is None  # two units are no sample
    assert found.higher_interval == always_valid_share(0.75, 2, num_expected=1000)


def test_no_pairs_are_undefined_and_not_zero():
    found = read_pairs("errors", "c", [])
    assert (found.difference, found.higher_share, found.higher_interval) == (None, None, None)


def test_a_shadow_that_writes_more_is_found_with_an_interval_above_zero():
    rng = np.random.default_rng(1)
    base = rng.normal(100, 30, 200)
    pairs = [
        Pair(f"u{n}", float(x), float(x + d))
        for n, (x, d) in enumerate(zip(base, rng.normal(10, 15, 200), strict=True))
    ]
    found = read_pairs("completion_tokens", "c", pairs)
    assert found.interval is not None
    assert found.interval[0] > 0
    assert found.higher_interval is not None
    assert found.higher_interval[0] > 0.5
