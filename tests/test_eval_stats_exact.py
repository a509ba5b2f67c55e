"""The interval that the gate reads paired 0/1 outcomes by errs no more than it says."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multinomial

from eval.stats import paired_score_interval, smallest_margin, tango_interval
from eval.stats_binary import tango_score
from eval.stats_exact import discordances, noninferiority_p


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 60))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


@pytest.mark.parametrize(("b", "c", "difference"), [(2, 1, -0.2), (5, 4, -0.1), (0, 3, 0.05)])
def test_p_is_what_adding_up_every_outcome_gives(b: int, c: int, difference: float) -> None:
    n, seen = 12, tango_score(b, c, 12, difference)
    outcomes = [(x, y) for x, y in itertools.product(range(n + 1), repeat=2) if x + y <= n]
    at_least = [(x, y) for x, y in outcomes if tango_score(x, y, n, difference) >= seen - 1e-9]
    chances = []
    for q in discordances(b + c, n, abs(difference)).tolist():
        shares = [(q - difference) / 2, (q + difference) / 2, 1 - q]
        chances.append(sum(multinomial.pmf([x, y, n - x - y], n, shares) for x, y in at_least))
    p = noninferiority_p(b, c, n, difference=difference)
    assert p == pytest.approx(max(chances) + 1e-4, abs=1e-8)


def test_a_bound_that_errs_too_often_moves_out_and_another_stays() -> None:
    # (1 - .16113)^20 = .0298: Tango's bound without a discordant pair errs too often at 20 items;
    # (1 - .03699)^100 = .0231 does not at 100. At 20: (1 - m)^20 = .0249, m = .1686.
    assert paired_score_interval(0, 0, 20)[0] == pytest.approx(-0.1686, abs=1e-4)
    assert paired_score_interval(0, 0, 100) == tango_interval(0, 0, 100)
    assert smallest_margin(20) == -paired_score_interval(0, 0, 20)[0]


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_the_interval_holds_tangos_and_is_mirrored_with_the_sides(
    counts: tuple[int, int, int],
) -> None:
    b, c, n = counts
    low, high = paired_score_interval(b, c, n)
    tango_low, tango_high = tango_interval(b, c, n)
    assert -1 <= low <= tango_low <= tango_high <= high <= 1
    assert (-high, -low) == paired_score_interval(c, b, n)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_an_item_won_instead_of_lost_never_lowers_the_bound(counts: tuple[int, int, int]) -> None:
    b, c, n = counts
    if b:
        assert paired_score_interval(b - 1, c + 1, n)[0] >= paired_score_interval(b, c, n)[0]


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 0), (2, 2, 3), (-1, 0, 4)])
def test_impossible_pairs_are_refused(b: int, c: int, n: int) -> None:
    with pytest.raises(ValueError, match="b \\+ c <= n"):
        paired_score_interval(b, c, n)
