"""Statistics of numeric differences, ratios and many tests, against published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from eval.stats import (
    benjamini_hochberg,
    clopper_pearson,
    cluster_interval,
    cluster_standard_error,
    holm,
    jackknife_ratio_interval,
    korn_graubard_interval,
    paired_t,
    sign_flip_interval,
    sign_flip_p,
    sparse_interval,
)

SCORES = [1, 1, 1, 0, 0, 0, 1, 0, 1, 1]
CLUSTERS = list("0001112233")
DIFFERENCES = [0.12, -0.05, 0.30, 0.02, -0.11, 0.08, 0.15, -0.02]


def test_clustered_standard_errors_agree_with_statsmodels() -> None:
    # statistics.md part A; statsmodels OLS on a constant, cov_type="cluster"
    alone = [str(i) for i in range(10)]
    assert cluster_standard_error(SCORES, alone) == pytest.approx(0.163299, abs=5e-7)
    cr0 = cluster_standard_error(SCORES, CLUSTERS, correction=False)
    assert cr0 == pytest.approx(0.231517, abs=5e-7)
    assert cluster_standard_error(SCORES, CLUSTERS) == pytest.approx(0.267333, abs=5e-7)


def test_statsmodels_itself_gives_the_same_clustered_errors() -> None:
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    values, groups = rng.normal(size=60), rng.integers(0, 12, size=60)
    fit = api.OLS(values, np.ones(60)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    names = [str(g) for g in groups]
    assert cluster_standard_error(list(values), names, correction=False) == pytest.approx(
        float(fit.bse[0])
    )


def test_a_cluster_interval_takes_t_with_one_degree_less_than_clusters() -> None:
    interval = cluster_interval(SCORES, CLUSTERS)
    assert interval.estimate == 0.6
    assert interval.high - interval.low == pytest.approx(2 * 3.182446305 * 0.267333, abs=1e-5)


def test_clusters_of_one_item_each_give_the_t_interval() -> None:
    alone = [str(i) for i in range(8)]
    plain, _, _ = paired_t(DIFFERENCES)
    clustered = cluster_interval(DIFFERENCES, alone)
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high))


def test_one_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="two clusters, got 1"):
        cluster_standard_error([1.0, 0.0], ["a", "a"])


def test_paired_t_agrees_with_the_reference() -> None:
    interval, t, p = paired_t(DIFFERENCES)  # statistics.md part A; scipy.stats.ttest_1samp
    assert interval.estimate == 0.06125
    assert interval.standard_error == pytest.approx(0.0460372, abs=5e-8)
    assert t == pytest.approx(1.330447, abs=5e-7)
    assert p == pytest.approx(0.225076, abs=5e-7)
    assert (interval.low, interval.high) == pytest.approx((-0.047611, 0.170111), abs=5e-7)


def test_equal_differences_have_no_t_and_an_exact_mean() -> None:
    interval, t, p = paired_t([0.1, 0.1, 0.1])
    assert (t, p) == (None, None)
    assert interval.estimate == interval.low == interval.high == 0.1


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_differences_have_no_t_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        paired_t(values)


def test_exact_sign_flip_agrees_with_the_reference() -> None:
    assert sign_flip_p(DIFFERENCES) == 0.2421875  # statistics.md part A: 62 of 256


def test_sign_flips_by_hand_two_equal_differences() -> None:
    assert sign_flip_p([1.0, 1.0]) == 0.5  # ++ and -- of four patterns


def test_ties_of_decimals_count_as_ties() -> None:
    # .1 + .2 against .3: in floats the sums differ in the last place
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0


def test_sign_flips_by_cluster_flip_whole_clusters() -> None:
    assert sign_flip_p([1.0, 1.0, 1.0, 1.0], ["a", "a", "b", "b"]) == 0.5


def test_many_groups_need_draws_and_agree_with_the_exact_test() -> None:
    values = [*DIFFERENCES] * 3
    with pytest.raises(ValueError, match="24 groups: pass rng"):
        sign_flip_p(values)
    drawn = sign_flip_p(values, rng=np.random.default_rng(1), num_draws=20_000)
    _, _, by_t = paired_t(values)
    assert by_t is not None
    assert drawn == pytest.approx(by_t, abs=0.02)


def test_six_groups_are_the_fewest_that_certify_anything() -> None:
    assert sign_flip_interval([0.1] * 5).low == -math.inf
    interval = sign_flip_interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert (interval.low, interval.high) == (0.1, 0.6)  # the extreme single-group means


def test_the_sign_flip_interval_holds_what_the_test_accepts() -> None:
    interval = sign_flip_interval(DIFFERENCES)
    for shift, accepted in ((interval.low + 1e-6, True), (interval.low - 1e-6, False)):
        p = sign_flip_p([round(d - shift, 9) for d in DIFFERENCES])
        assert (p > 0.05) == accepted


def test_a_shift_of_exactly_the_margin_is_exactly_the_bound() -> None:
    values = [0.80 - 0.85] * 6  # -0.04999999999999993 in floats; decimals were paired before
    decimals = [round(v, 2) for v in values]
    assert sign_flip_interval(decimals).low == -0.05


@given(st.lists(st.integers(-50, 50), min_size=6, max_size=9))
def test_swapping_sides_mirrors_the_sign_flip_interval(values: list[int]) -> None:
    there = sign_flip_interval([v / 100 for v in values])
    back = sign_flip_interval([-v / 100 for v in values])
    assert there.mirrored() == back


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=30))
def test_the_order_of_items_is_irrelevant_to_the_last_bit(values: list[float]) -> None:
    assert paired_t(values)[0] == paired_t(sorted(values))[0]


def test_nothing_differing_bounds_the_mean_by_the_share_that_may() -> None:
    # no non-zero difference in 100: the share that differs is below 1 - .025^(1/100)
    assert sparse_interval(0, 100, 1.0) == pytest.approx(1 - 0.025 ** (1 / 100))
    assert sparse_interval(0, 100, 0.5) == pytest.approx((1 - 0.025 ** (1 / 100)) / 2)
    assert sparse_interval(3, 3, 2.0) == 2.0


def test_the_jackknife_of_equal_documents_is_the_t_interval() -> None:
    candidate, baseline = [8.0, 16.0, 30.0], [9.0, 15.0, 24.0]
    interval = jackknife_ratio_interval(candidate, [8.0, 8.0, 8.0], baseline)
    plain, _, _ = paired_t([-1 / 8, 1 / 8, 6 / 8])
    assert interval.estimate == pytest.approx(0.25)
    assert (interval.low, interval.high) == pytest.approx((plain.low, plain.high))


def test_the_jackknife_by_hand_with_unequal_documents() -> None:
    # bits 2, 2, 8 over bytes 1, 2, 3: ratio 2; leaving one out 10/5, 10/4, 4/3
    left = [2.0, 2.5, 4 / 3]
    mean = sum(left) / 3
    se = math.sqrt(2 / 3 * sum((v - mean) ** 2 for v in left))
    interval = jackknife_ratio_interval([2.0, 2.0, 8.0], [1.0, 2.0, 3.0])
    assert interval.estimate == 2
    assert interval.standard_error == pytest.approx(se)


def test_a_constant_rate_has_no_spread() -> None:
    interval = jackknife_ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert interval.low == pytest.approx(2)
    assert interval.high == pytest.approx(2)


@given(
    st.lists(
        st.tuples(st.floats(1, 99), st.floats(1, 99), st.integers(1, 50)), min_size=2, max_size=40
    )
)
def test_swapping_sides_mirrors_the_jackknife(rows: list[tuple[float, float, int]]) -> None:
    ours, theirs, weights = ([float(v) for v in part] for part in zip(*rows, strict=True))
    there = jackknife_ratio_interval(ours, weights, theirs).mirrored()
    back = jackknife_ratio_interval(theirs, weights, ours)
    assert (there.low, there.high) == pytest.approx((back.low, back.high), abs=1e-9)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 5.0], [1.0, -1.0]])
def test_documents_that_leave_no_weight_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="document"):
        jackknife_ratio_interval([1.0] * len(weights), weights)


def test_nan_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        jackknife_ratio_interval([1.0, math.nan], [1.0, 1.0])


def test_holm_agrees_with_the_reference() -> None:
    adjusted = holm([0.01, 0.02, 0.03, 0.04, 0.05])  # statistics.md part A
    assert adjusted == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


def test_benjamini_hochberg_by_hand() -> None:
    # sorted .01 .02 .03 .5: times 4/rank = .04, .04, .04, .5, each the least from above
    assert benjamini_hochberg([0.5, 0.03, 0.01, 0.02]) == pytest.approx([0.5, 0.04, 0.04, 0.04])


def test_statsmodels_gives_the_same_adjusted_p_values() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = list(np.random.default_rng(5).uniform(0, 0.2, size=20))
    assert holm(p) == pytest.approx(list(multitest.multipletests(p, method="holm")[1]))
    expected = list(multitest.multipletests(p, method="fdr_bh")[1])
    assert benjamini_hochberg(p) == pytest.approx(expected)


def test_adjusting_nothing_or_one_test_changes_nothing() -> None:
    assert holm([]) == benjamini_hochberg([]) == []
    assert holm([0.04]) == benjamini_hochberg([0.04]) == [0.04]


def test_a_p_value_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 1\.5"):
        holm([0.5, 1.5])


def test_a_rare_share_over_clusters_is_bounded_at_its_effective_size() -> None:
    """Twenty items in ten clusters of two, both hits in one cluster: se^2 = (10/9)(1.8^2 +
    9 * .2^2)/20^2 = .01, so nine effective items, times (t19/t9)^2 = (2.093024/2.262157)^2.
    Rule: Korn & Graubard 1998, Survey Methodology 24:193-201."""
    values = [1.0, 1.0] + [0.0] * 18
    clusters = [str(i // 2) for i in range(20)]
    size = 9 * (2.093024 / 2.262157) ** 2
    low, high = korn_graubard_interval(values, clusters)
    assert low == pytest.approx(beta.ppf(0.025, 0.1 * size, 0.9 * size + 1), abs=1e-6)
    assert high == pytest.approx(beta.ppf(0.975, 0.1 * size + 1, 0.9 * size), abs=1e-6)
    assert high > clopper_pearson(2, 20)[1]


@pytest.mark.parametrize("hits", [0, 20])
def test_where_all_items_agree_their_number_is_the_effective_size(hits: int) -> None:
    values = [1.0] * hits + [0.0] * (20 - hits)
    clusters = [str(i // 2) for i in range(20)]
    assert korn_graubard_interval(values, clusters) == clopper_pearson(hits, 20)
