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
    always_valid_mean,
    always_valid_share,
    balance_pvalue,
    fixed_horizon_difference,
    one_sided_half_width,
    required_sample,
    required_sample_of_means,
    sequence_half_width,
    share_high,
    share_low,
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
    # The z version of the same difference and error: .013253.
    error = math.sqrt(CONTROL.variance / 3000 + TREATMENT.variance / 3000)
    assert math.erfc(found.estimate / error / math.sqrt(2)) == pytest.approx(0.013253, abs=5e-7)


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
    # 1.35 to 1.7%; 4,000 experiments give a standard error of .7 and .2 points, and this
    # allows three of them.
    rng = np.random.default_rng(1)
    n = np.arange(1, 31) * 100
    a, b = (rng.binomial(100, 0.1, (4000, 30)).cumsum(axis=1) / n for _ in range(2))
    error = np.sqrt((a * (1 - a) + b * (1 - b)) / n)
    half = np.array([sequence_half_width(2 * k, 1.0, tuned_rho(5000)) for k in n])
    naive = (np.abs(b - a) > 1.959964 * error).any(axis=1).mean()
    sequence = (np.abs(b - a) > half * np.sqrt(2 * n) * error).any(axis=1).mean()
    assert naive == pytest.approx(0.2765, abs=0.021)
    assert 0.0075 < sequence < 0.023


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


def test_moments_of_sums_are_those_of_the_values():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    sums = Moments.of_sums(5, sum(values), sum(value**2 for value in values))
    assert sums.variance == pytest.approx(Moments.of_values(values).variance)
    assert Moments.of_sums(1, 2.0, 4.0) == Moments(1, 2.0, 0.0)
    with pytest.raises(ValueError, match="no values"):
        Moments.of_sums(0, 0.0, 0.0)


def test_one_end_of_the_exact_sequence_is_that_of_both():
    low, high = always_valid_share(12, 90, num_expected=200, alpha=0.01)
    assert share_low(12, 90, num_expected=200, alpha=0.01) == low
    assert share_high(12, 90, num_expected=200, alpha=0.01) == high


def test_the_sequence_of_one_mean_is_that_of_a_difference_from_a_sure_zero():
    moments = Moments(400, 0.3, 0.21)
    half = sequence_half_width(400, math.sqrt(0.21), tuned_rho(500))
    assert always_valid_mean(moments, num_expected=500) == pytest.approx((0.3 - half, 0.3 + half))
    assert always_valid_mean(Moments(9, 1.0, 0.0), num_expected=500) is None


def test_a_bound_on_one_side_is_narrower_than_one_of_two_and_holds_at_every_look():
    rho = tuned_rho(500, alpha=0.1)
    assert one_sided_half_width(500, 1.0, rho) < sequence_half_width(500, 1.0, tuned_rho(500))
    # Normal data, looked at after each of 30 to 1,000: the mean 0 is below the lower bound
    # in at most 5% of the series.
    rng = np.random.default_rng(3)
    n = np.arange(1, 1001)
    means = rng.normal(size=(2000, 1000)).cumsum(axis=1) / n
    half = np.array([one_sided_half_width(int(k), 1.0, rho) for k in n])
    wrong = (means > half)[:, 29:].any(axis=1).mean()
    assert 0.005 < wrong < 0.05


def test_the_required_sample_of_means_is_that_of_r_without_student():
    # help(power.t.test): power.t.test(power = .90, delta = 1) gives n = 22.02110 by Student's t;
    # the normal approximation is 2 * (1.959964 + 1.281552)**2 = 21.015.
    assert required_sample_of_means(1.0, 1.0, power=0.9) == 22
    with pytest.raises(ValueError, match="difference of 0"):
        required_sample_of_means(1.0, 0.0)
