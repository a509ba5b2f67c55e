"""A bandit's shares are chances that the log keeps, and the log can be read back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from monitoring.bandit import Outcomes, chances_of_best, shares, weighted_mean


def miller(a: Outcomes, b: Outcomes) -> float:
    """P(b > a) of two Beta posteriors with whole counts.

    Source: Evan Miller 2014, "Formulas for Bayesian A/B testing", equation 6.
    """
    alpha_a, beta_a = 1 + a.total, 1 + a.n - a.total
    alpha_b, beta_b = 1 + b.total, 1 + b.n - b.total
    return sum(
        np.exp(
            betaln(alpha_a + i, beta_b + beta_a)
            - np.log(beta_b + i)
            - betaln(1 + i, beta_b)
            - betaln(alpha_a, beta_a)
        )
        for i in range(int(alpha_b))
    )


@pytest.mark.parametrize(("a", "b"), [((3, 10), (7, 12)), ((50, 100), (55, 100)), ((0, 0), (1, 1))])
def test_the_chance_to_be_best_agrees_with_the_closed_form(a, b):
    one, other = Outcomes(*a), Outcomes(*b)
    assert chances_of_best({"a": one, "b": other})["b"] == pytest.approx(
        miller(one, other), abs=1e-3
    )


def test_arms_that_nobody_met_share_alike():
    found = shares({name: Outcomes(0, 0) for name in "abc"}, "thompson", floor=0.05)
    assert list(found.values()) == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_shares_add_up_to_one_and_none_is_below_the_floor():
    arms = {"a": Outcomes(10, 100), "b": Outcomes(90, 100), "c": Outcomes(50, 100)}
    for method in ("thompson", "top-two"):
        found = shares(arms, method, floor=0.04)
        assert sum(found.values()) == pytest.approx(1)
        assert min(found.values()) >= 0.04
        assert max(found, key=found.__getitem__) == "b"


def test_top_two_gives_the_best_arm_half_and_the_runner_up_most_of_the_rest():
    arms = {"a": Outcomes(100, 1000), "b": Outcomes(900, 1000), "c": Outcomes(500, 1000)}
    found = shares(arms, "top-two", floor=1e-9)
    assert found["b"] == pytest.approx(0.5, abs=1e-6)
    assert found["a"] + found["c"] == pytest.approx(0.5, abs=1e-6)


def test_a_floor_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit 3 arms"):
        shares({name: Outcomes(0, 0) for name in "abc"}, "thompson", floor=0.4)


def test_a_weighted_mean_is_worked_out_by_hand():
    # 1 with chance 1/2 and 0 with chance 1/4: (1 * 2 + 0 * 4) / (2 + 4).
    assert weighted_mean([(1.0, 0.5), (0.0, 0.25)]) == pytest.approx(1 / 3)
    assert weighted_mean([]) is None
    with pytest.raises(ValueError, match="at most 1"):
        weighted_mean([(1.0, 0.0)])


def test_propensities_undo_what_a_drift_and_changing_shares_do_to_a_plain_mean():
    # Arm a's rate is .2 in the first batch and .8 in the second; it gets 80% of the first and
    # 20% of the second. Of all 2,000 units each it would have .5; the plain mean says .32.
    first = [(1.0, 0.8)] * 320 + [(0.0, 0.8)] * 1280
    second = [(1.0, 0.2)] * 320 + [(0.0, 0.2)] * 80
    assert np.mean([value for value, _ in first + second]) == pytest.approx(0.32)
    assert weighted_mean(first + second) == pytest.approx(0.5)
