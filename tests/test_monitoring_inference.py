"""Formulas of live experiments against published numbers.

Numbers without another source are GrowthBook's (sample ratio) or were recomputed from
the formulas that the functions cite, to the digits that the sources print.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitoring.inference import (
    Moments,
    always_valid_difference,
    always_valid_share,
    balance_pvalue,
    bradley_terry,
    fixed_horizon_difference,
    required_sample,
    sequence_half_width,
    srm_pvalue,
    tuned_rho,
)


@pytest.mark.parametrize(
    ("units", "weights", "expected"),
    [
        # GrowthBook, packages/stats/tests/test_health.py
        ([135, 115], [0.5, 0.5], 0.205903211),
        ([500, 500, 600], [0.34, 0.33, 0.33], 0.000592638),
        ([1000, 1200, 900], [0.5, 0.5, 0], 0.000020079),
        ([0, 0, 0], [0.34, 0.33, 0.33], 1.0),
    ],
)
def test_the_sample_ratio_p_agrees_with_growthbook(units, weights, expected):
    arms = "abc"[: len(units)]
    p = srm_pvalue(dict(zip(arms, units, strict=True)), dict(zip(arms, weights, strict=True)))
    assert p == pytest.approx(expected, abs=1e-9)


def test_weights_count_as_shares_of_their_sum():
    units = {"a": 135, "b": 115}
    assert srm_pvalue(units, {"a": 3, "b": 3}) == srm_pvalue(units, {"a": 0.5, "b": 0.5})


def test_an_arm_that_nobody_was_sent_to_alarms():
    assert srm_pvalue({"a": 100}, {"a": 0.5, "b": 0.5}) < 1e-20


def test_one_arm_alone_cannot_be_mismatched():
    assert srm_pvalue({"a": 100}, {"a": 1.0}) == 1.0


def test_response_balance_is_the_plain_chi_square_of_the_two_by_two_table():
    # By hand: rows 30/70 and 45/55, pooled .375: 2 * 7.5**2/37.5 + 2 * 7.5**2/62.5 = 4.8.
    p = balance_pvalue({"a": 30, "b": 45}, {"a": 100, "b": 100})
    assert p == pytest.approx(math.erfc(math.sqrt(4.8 / 2)))


@pytest.mark.parametrize(
    ("responded", "units"),
    [({}, {}), ({"a": 3}, {"a": 9}), ({"a": 0, "b": 0}, {"a": 9, "b": 9})],
)
def test_response_balance_is_undefined_without_two_arms_and_a_voice(responded, units):
    assert balance_pvalue(responded, units) is None


CONTROL, TREATMENT = Moments.of_counts(300, 3000), Moments.of_counts(360, 3000)


def test_the_fixed_horizon_difference_agrees_with_growthbook():
    found = fixed_horizon_difference(CONTROL, TREATMENT)
    assert found is not None
    assert found.estimate == pytest.approx(0.02)
    assert (found.low, found.high) == pytest.approx((0.0041708, 0.0358292), abs=5e-8)
    assert found.p == pytest.approx(0.0132809, abs=5e-8)


def test_the_fixed_horizon_difference_is_undefined_without_variance_or_with_one_unit():
    flat = Moments.of_counts(5, 5)
    assert fixed_horizon_difference(flat, flat) is None
    assert fixed_horizon_difference(Moments.of_values([1.0]), CONTROL) is None


def test_the_always_valid_difference_agrees_with_growthbook():
    assert tuned_rho(5000) == pytest.approx(0.0398401, abs=5e-8)
    found = always_valid_difference(CONTROL, TREATMENT, num_expected=5000)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-0.00452, 0.04452), abs=5e-6)
    assert found.p is None


def test_the_always_valid_difference_is_undefined_without_variance():
    flat = Moments.of_counts(40, 40)
    assert always_valid_difference(flat, flat, num_expected=100) is None


def test_peeking_thirty_times_breaks_the_naive_interval_and_not_the_sequence():
    # Two equal arms of p = .1, looked at every 100 units per arm. Named: 27.65% against
    # 1.35 to 1.7%; 4,000 experiments give a standard error of .7 and .2 points.
    rng = np.random.default_rng(1)
    n = np.arange(1, 31) * 100
    a, b = (rng.binomial(100, 0.1, (4000, 30)).cumsum(axis=1) / n for _ in range(2))
    error = np.sqrt((a * (1 - a) + b * (1 - b)) / n)
    half = np.array([sequence_half_width(2 * k, 1.0, tuned_rho(5000)) for k in n])
    naive = (np.abs(b - a) > 1.959964 * error).any(axis=1).mean()
    sequence = (np.abs(b - a) > half * np.sqrt(2 * n) * error).any(axis=1).mean()
    assert 0.25 < naive < 0.31
    assert sequence < 0.025


def test_the_sequence_holds_when_looked_at_after_every_unit_from_thirty_on():
    rng = np.random.default_rng(2)
    n = np.arange(30, 530)
    steps = np.array([30] + [1] * 499)
    a, b = (rng.binomial(steps, 0.7, (1500, 500)).cumsum(axis=1) / n for _ in range(2))
    error = np.sqrt((a * (1 - a) + b * (1 - b)) / n)
    half = np.array([sequence_half_width(2 * k, 1.0, tuned_rho(1000)) for k in n])
    wrong = (np.abs(b - a) > half * np.sqrt(2 * n) * error).any(axis=1).mean()
    assert wrong < 0.05


def test_the_exact_sequence_agrees_with_confseq():
    low, high = always_valid_share(700, 1000, num_expected=100)
    assert (low, high) == pytest.approx((0.651629, 0.745949), abs=1e-6)


def test_the_exact_sequence_of_failures_mirrors_that_of_successes():
    low, high = always_valid_share(3, 40, num_expected=100)
    mirrored = always_valid_share(37, 40, num_expected=100)
    assert (1 - high, 1 - low) == pytest.approx(mirrored)


def test_the_exact_sequence_knows_its_limits():
    assert always_valid_share(0, 0, num_expected=100) == (0.0, 1.0)
    low, high = always_valid_share(0, 50, num_expected=100)
    assert low == 0.0
    assert 0 < high < 0.25
    assert always_valid_share(50, 50, num_expected=100)[1] == 1.0
    with pytest.raises(ValueError, match="got 3 of 2"):
        always_valid_share(3, 2, num_expected=100)


def test_the_required_sample_is_that_of_r():
    # help(power.prop.test): power.prop.test(p1 = .50, p2 = .75, power = .90) gives n = 76.7
    assert required_sample(0.50, 0.75, power=0.90) == 77
    with pytest.raises(ValueError, match=r"no sample tells 0\.5 from itself"):
        required_sample(0.5, 0.5)


def test_moments_of_values_are_the_textbook_ones():
    moments = Moments.of_values([1.0, 2.0, 3.0, 4.0])
    assert (moments.n, moments.mean) == (4, 2.5)
    assert moments.variance == pytest.approx(5 / 3)
    assert Moments.of_values([2.0]).variance == 0.0
    with pytest.raises(ValueError, match="no values"):
        Moments.of_values([])
    with pytest.raises(ValueError, match="got 4 of 3"):
        Moments.of_counts(4, 3)


def test_bradley_terry_agrees_with_the_maximum_likelihood():
    votes = {("a", "b"): 7, ("b", "a"): 3, ("a", "c"): 8, ("c", "a"): 2, ("b", "c"): 6}
    strengths = bradley_terry({**votes, ("c", "b"): 4})
    assert list(strengths.values()) == pytest.approx([0.740570, -0.149102, -0.591468], abs=5e-7)
    assert sum(strengths.values()) == pytest.approx(0, abs=1e-12)


def test_bradley_terry_refuses_a_player_that_never_lost():
    with pytest.raises(ValueError, match="do not connect"):
        bradley_terry({("a", "b"): 3})
