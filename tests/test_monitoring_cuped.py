"""History takes noise out of a difference, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.cuped import MIN_UNITS, adjust


def arms(rng: np.random.Generator, n: int, effect: float, correlation: float):
    """Outcomes and history of two arms, both of variance 1."""
    outcomes: dict[str, dict[str, float]] = {}
    history: dict[str, float] = {}
    for arm, shift in (("a", 0.0), ("b", effect)):
        past = rng.normal(size=n)
        now = correlation * past + np.sqrt(1 - correlation**2) * rng.normal(size=n) + shift
        outcomes[arm] = {f"{arm}{i}": float(value) for i, value in enumerate(now)}
        history |= {f"{arm}{i}": float(value) for i, value in enumerate(past)}
    return outcomes, history


def test_theta_and_the_adjusted_means_are_those_worked_out_by_hand():
    # Each arm: history 0 and 2 in turn, outcome 1 and 2; the slope within arms is 1/2. Arm b
    # has 1 more. The mean history is 1: outcomes become 1.5 and 1.5, in b 2.5 and 2.5.
    outcomes = {
        arm: {f"{arm}{i}": 1.0 + i % 2 + shift for i in range(MIN_UNITS)}
        for arm, shift in (("a", 0.0), ("b", 1.0))
    }
    history = {f"{arm}{i}": 2.0 * (i % 2) for arm in "ab" for i in range(MIN_UNITS)}
    found = adjust(outcomes, history)
    assert found is not None
    assert found.theta == pytest.approx(0.5)
    assert (found.arms["a"].mean, found.arms["b"].mean) == pytest.approx((1.5, 2.5))
    assert found.variance_kept == pytest.approx(0.0, abs=1e-12)


def test_the_variance_falls_by_the_square_of_the_correlation():
    # Deng et al. 2013, equation 3: 1 - .8**2 = .36.
    found = adjust(*arms(np.random.default_rng(1), 4000, 0.0, 0.8))
    assert found is not None
    assert found.variance_kept == pytest.approx(0.36, abs=0.02)


def test_the_difference_stays_unbiased_with_an_effect_and_with_units_without_history():
    rng = np.random.default_rng(2)
    gaps = []
    for _ in range(200):
        outcomes, history = arms(rng, 100, 0.5, 0.7)
        known = {unit: past for unit, past in history.items() if not unit.endswith("3")}
        found = adjust(outcomes, known)
        assert found is not None
        gaps.append(found.arms["b"].mean - found.arms["a"].mean)
    assert np.mean(gaps) == pytest.approx(0.5, abs=3 * np.std(gaps) / np.sqrt(200))


def test_without_enough_history_nothing_is_adjusted():
    outcomes, history = arms(np.random.default_rng(3), MIN_UNITS, 0.0, 0.5)
    assert adjust(outcomes, history) is not None
    history.pop("b0")
    assert adjust(outcomes, history) is None
    assert adjust(outcomes, {}) is None
    assert adjust({}, history) is None


def test_history_that_never_varies_tells_nothing():
    outcomes, history = arms(np.random.default_rng(4), 50, 0.0, 0.5)
    assert adjust(outcomes, dict.fromkeys(history, 1.0)) is None
