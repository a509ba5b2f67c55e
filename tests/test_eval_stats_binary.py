"""Statistics of 0/1 outcomes against published values. Sources stand beside the numbers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from eval.stats import (
    clopper_pearson,
    corrected_rate,
    exact,
    icat,
    mcnemar_exact,
    mcnemar_mid_p,
    newcombe_interval,
    num_for_paired_binary,
    num_for_zero_harm,
    power_limit_binary,
    power_mean,
    power_tango,
    proportion_standard_error,
    smallest_margin,
    tango_interval,
    tango_noninferiority_p,
    win_rate,
)

# The paired table (x11, x12, x21, x22) = (59, 6, 16, 80) of the R package
# contingencytables, chapter 8: airway hyper-responsiveness before and after SCT.
BOTH, ONLY_CANDIDATE, ONLY_BASELINE, NEITHER = 59, 6, 16, 80
N = 161


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 400))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


def test_exact_mcnemar_and_mid_p_agree_with_contingencytables() -> None:
    assert mcnemar_exact(ONLY_BASELINE, ONLY_CANDIDATE) == pytest.approx(0.052479, abs=5e-7)
    assert mcnemar_mid_p(ONLY_BASELINE, ONLY_CANDIDATE) == pytest.approx(0.034690, abs=5e-7)


def test_mcnemar_by_hand_three_against_none() -> None:
    assert mcnemar_exact(3, 0) == 0.25  # 2 * (1/2)^3
    assert mcnemar_mid_p(3, 0) == 0.125


def test_mid_p_of_equal_counts_takes_half_of_the_central_probability() -> None:
    assert mcnemar_mid_p(2, 2) == 1 - 0.5 * 6 / 16


def test_without_discordant_pairs_nothing_is_significant() -> None:
    assert mcnemar_exact(0, 0) == 1
    assert mcnemar_mid_p(0, 0) == 1


def test_tango_agrees_with_contingencytables() -> None:
    low, high = tango_interval(ONLY_BASELINE, ONLY_CANDIDATE, N)
    assert low == pytest.approx(-0.124023, abs=5e-7)
    assert high == pytest.approx(-0.005433, abs=5e-7)


def test_tango_agrees_with_propcis() -> None:
    # R package PropCIs, scoreci.mp(20, 40, 160)
    low, high = tango_interval(20, 40, 160)
    assert low == pytest.approx(0.030865, abs=5e-7)
    assert high == pytest.approx(0.218064, abs=5e-7)


def test_tango_at_zero_difference_is_the_mcnemar_chi_square() -> None:
    # contingencytables, chapter 8: McNemar's asymptotic p is .033006
    one_sided = tango_noninferiority_p(ONLY_CANDIDATE, ONLY_BASELINE, N, margin=0)
    assert 2 * one_sided == pytest.approx(0.033006, abs=5e-7)


def test_newcombe_agrees_with_contingencytables() -> None:
    low, high = newcombe_interval(BOTH, ONLY_CANDIDATE, ONLY_BASELINE, NEITHER)
    assert low == pytest.approx(-0.118621, abs=5e-7)
    assert high == pytest.approx(-0.004625, abs=5e-7)


def test_zero_discordant_pairs_leave_tango_a_width() -> None:
    low, high = tango_interval(0, 0, 100)
    assert low == pytest.approx(-0.03699, abs=5e-6)  # -z^2 / (n + z^2)
    assert high == -low
    assert smallest_margin(100) == pytest.approx(-low)


def test_one_item_leaves_almost_everything_open() -> None:
    z2 = 1.959963984540054**2
    assert tango_interval(0, 0, 1) == pytest.approx((-z2 / (1 + z2), z2 / (1 + z2)))
    assert tango_interval(0, 1, 1)[1] == 1
    assert tango_interval(1, 0, 1)[0] == -1


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 0), (2, 2, 3), (-1, 0, 4)])
def test_impossible_pairs_are_refused(b: int, c: int, n: int) -> None:
    with pytest.raises(ValueError, match="b \\+ c <= n"):
        tango_interval(b, c, n)


@given(pairs())
def test_swapping_sides_mirrors_the_tango_interval(counts: tuple[int, int, int]) -> None:
    b, c, n = counts
    low, high = tango_interval(b, c, n)
    assert (-high, -low) == pytest.approx(tango_interval(c, b, n), abs=1e-12)


@given(pairs())
def test_the_tango_interval_holds_its_estimate_and_stays_in_range(
    counts: tuple[int, int, int],
) -> None:
    b, c, n = counts
    low, high = tango_interval(b, c, n)
    assert -1 <= low <= (c - b) / n <= high <= 1


@given(pairs(), st.floats(0.001, 0.9))
def test_the_tango_test_and_interval_decide_alike(
    counts: tuple[int, int, int], margin: float
) -> None:
    b, c, n = counts
    low, _ = tango_interval(b, c, n)
    if abs(low + margin) > 1e-9:
        assert (tango_noninferiority_p(b, c, n, margin=margin) < 0.025) == (low > -margin)


@given(pairs())
def test_winning_one_more_item_never_lowers_the_bound(counts: tuple[int, int, int]) -> None:
    b, c, n = counts
    if b + c < n:
        assert tango_interval(b, c + 1, n)[0] >= tango_interval(b, c, n)[0] - 1e-12


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4).filter(any))
def test_newcombe_mirrors_when_sides_swap(table: list[int]) -> None:
    both, one, other, neither = table
    low, high = newcombe_interval(both, one, other, neither)
    assert (-high, -low) == pytest.approx(newcombe_interval(both, other, one, neither), abs=1e-9)


@pytest.mark.parametrize(
    ("n", "two_sided", "one_sided"), [(30, 0.1157, 0.0950), (300, 0.0122, 0.0099)]
)
def test_zero_failures_still_bound_the_rate(n: int, two_sided: float, one_sided: float) -> None:
    # statistics.md part A; closed form 1 - alpha^(1/n)
    assert clopper_pearson(0, n)[1] == pytest.approx(two_sided, abs=5e-5)
    assert clopper_pearson(0, n, alpha=0.10)[1] == pytest.approx(one_sided, abs=5e-5)


def test_clopper_pearson_of_everything_mirrors_nothing() -> None:
    low, high = clopper_pearson(30, 30)
    assert high == 1
    assert low == pytest.approx(1 - clopper_pearson(0, 30)[1])


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_leaves_at_most_alpha_over_two_on_each_side(case: tuple[int, int]) -> None:
    k, n = case
    low, high = clopper_pearson(k, n)
    assert binom.sf(k - 1, n, low) <= 0.025 + 1e-9 or k == 0
    assert binom.cdf(k, n, high) <= 0.025 + 1e-9 or k == n


def test_clopper_pearson_of_no_items_is_refused() -> None:
    with pytest.raises(ValueError, match="0 of 0"):
        clopper_pearson(0, 0)


def test_standard_error_of_a_proportion_is_that_of_lm_eval() -> None:
    # Pythia-70m-deduped results by lm-eval: .3654 of 104 items, stderr .04745
    assert proportion_standard_error(0.3654, 104) == pytest.approx(0.04745, abs=5e-6)


def test_gaps_of_exactly_the_limit_do_not_exceed_it_as_fractions() -> None:
    limit = exact(0.05)
    gaps = [(k, k + 5) for k in range(100)]
    assert sum(high / 100 - low / 100 > 0.05 for low, high in gaps) == 43  # what floats say
    assert sum(Fraction(high - low, 100) > limit for low, high in gaps) == 0


def test_exact_reads_the_decimal_that_was_written() -> None:
    assert exact(0.1) + exact(0.2) == exact(0.3)
    with pytest.raises(ValueError):
        exact(math.nan)


def test_win_rate_counts_ties_as_half() -> None:
    assert win_rate(5, 3, 2)[0] == 0.6
    assert win_rate(0, 0, 10)[0] == 0.5


def test_win_rate_without_ties_has_wilsons_interval() -> None:
    # Wilson 1927 for 8 of 10, as statsmodels proportion_confint(8, 10, method="wilson")
    assert win_rate(8, 2, 0) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=5e-7)


def test_ties_narrow_the_win_rate_but_never_to_nothing() -> None:
    _, low, high = win_rate(0, 0, 100)
    assert high - 0.5 == pytest.approx(0.03699 / 2, abs=5e-6)
    assert low == 1 - high


def test_no_comparison_has_no_win_rate() -> None:
    with pytest.raises(ValueError, match="n > 0"):
        win_rate(0, 0, 0)


def test_a_judges_rate_is_corrected_for_its_errors() -> None:
    # statistics.md part A, by Rogan & Gladen 1978
    rate, error = corrected_rate(
        0.72, 200, specificity=0.85, num_negatives=100, sensitivity=0.9, num_positives=100
    )
    assert rate == pytest.approx(0.76)
    assert error == pytest.approx(0.0533547, abs=5e-8)


def test_a_perfect_judge_changes_nothing() -> None:
    rate, error = corrected_rate(
        0.5, 100, specificity=1, num_negatives=10, sensitivity=1, num_positives=10
    )
    assert (rate, error) == pytest.approx((0.5, 0.05))


def test_a_judge_no_better_than_a_coin_is_refused() -> None:
    with pytest.raises(ValueError, match="exceed 1"):
        corrected_rate(0.5, 100, specificity=0.5, num_negatives=9, sensitivity=0.5, num_positives=9)


def test_planning_asks_for_1963_pairs() -> None:
    # statistics.md part A: discordance .10, margin .02, power .80
    n = num_for_paired_binary(0.10, 0.02)
    assert n == 1963
    # simulated there as .7995; the enumeration is exact for the test as implemented
    assert power_tango(n, margin=0.02, discordance=0.10) == pytest.approx(0.7995, abs=0.006)


def test_false_pass_of_tango_at_the_boundary_is_the_enumerated_one() -> None:
    # statistics.md part A: true drop equal to the margin, n = 164, discordance .06, m = .05
    assert power_tango(164, margin=0.05, discordance=0.06, difference=-0.05) == pytest.approx(
        0.0152, abs=5e-5
    )


@pytest.mark.parametrize(("n", "discordance", "expected"), [(164, 0.06, 0.290), (50, 0.1, 0.936)])
def test_no_significant_drop_would_pass_bad_models(
    n: int, discordance: float, expected: float
) -> None:
    # statistics.md part A: "exact McNemar not significant at .05 means pass" at a true drop of .05
    lost = (discordance + 0.05) / 2
    passed = 0.0
    for total in range(n + 1):
        weight = binom.pmf(total, n, discordance)
        if weight < 1e-12:
            continue
        for b in range(total + 1):
            if not (b > total - b and mcnemar_exact(b, total - b) < 0.05):
                passed += weight * binom.pmf(b, total, lost / discordance)
    assert passed == pytest.approx(expected, abs=5e-4)


def test_power_is_the_sum_over_all_tables() -> None:
    n, margin, lost, won = 12, 0.3, 0.1, 0.15
    brute = 0.0
    for b, c in itertools.product(range(n + 1), repeat=2):
        if b + c > n or tango_noninferiority_p(b, c, n, margin=margin) >= 0.025:
            continue
        ways = math.comb(n, b) * math.comb(n - b, c)
        brute += ways * lost**b * won**c * (1 - lost - won) ** (n - b - c)
    found = power_tango(n, margin=margin, discordance=lost + won, difference=won - lost)
    assert found == pytest.approx(brute, abs=1e-10)


def test_a_budget_of_three_percent_needs_122_spotless_answers() -> None:
    assert clopper_pearson(0, 122)[1] <= 0.03 < clopper_pearson(0, 121)[1]
    assert num_for_zero_harm(0.03) == 122


def test_power_of_a_limit_counts_what_the_interval_lets_through() -> None:
    allowed = [k for k in range(401) if clopper_pearson(k, 400)[1] <= 0.03]
    expected = binom.cdf(max(allowed), 400, 0.003)
    found = power_limit_binary(400, limit=0.03, value=0.003, higher_is_better=False)
    assert found == pytest.approx(expected)
    assert power_limit_binary(10, limit=0.99, value=1.0, higher_is_better=True) == 0


def test_power_of_a_mean_is_half_where_the_margin_equals_the_bound() -> None:
    # margin = 1.96 standard errors: the estimate clears it in half of all cases
    assert power_mean(100_000, margin=1.96, sd=math.sqrt(100_000)) == pytest.approx(0.5, abs=1e-3)
    assert power_mean(50, margin=0.0, sd=1.0) == pytest.approx(0.025, abs=1e-6)
    assert power_mean(50, margin=100.0, sd=1.0) == 1.0


def test_power_of_a_mean_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1, size=(20_000, 30))
    se = draws.std(axis=1, ddof=1) / math.sqrt(30)
    passed = (draws.mean(axis=1) - 2.045229642 * se > -0.5).mean()
    assert power_mean(30, margin=0.5, sd=1.0) == pytest.approx(passed, abs=0.01)


def test_icat_of_a_published_model() -> None:
    """Formula of Nadeem et al. 2021; values of statistics.md part A."""
    assert icat(93.2779, 62.6678) == pytest.approx(69.6454, abs=1e-4)
    assert icat(100, 50) == 100
    assert icat(100, 0) == icat(100, 100) == 0
    with pytest.raises(ValueError, match="scores lie in"):
        icat(101, 50)
