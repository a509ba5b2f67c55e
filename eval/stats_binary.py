"""Statistics of 0/1 outcomes: paired, alone, and as a judge reports them.

Paired counts throughout: ``b`` items only the baseline got right, ``c`` only the
candidate, of ``n``; the difference is candidate minus baseline, (c - b) / n.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import beta, binom, norm


@lru_cache(maxsize=4096)
def exact(value: float) -> Fraction:
    """The decimal that a person wrote: ``exact(0.05)`` is 1/20, not the nearest float.

    43 of the 100 gaps (k + 5)/100 - k/100 compare greater than 0.05 in floats; as
    fractions none does. Raises ValueError for NaN and infinity.
    """
    return Fraction(repr(float(value)))


def _check_pairs(b: int, c: int, n: int) -> None:
    if n <= 0 or b < 0 or c < 0 or b + c > n:
        raise ValueError(f"need n > 0, b >= 0, c >= 0 and b + c <= n, got b={b}, c={c}, n={n}")


def _z(alpha: float) -> float:
    """Upper ``alpha`` quantile of the normal distribution."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1, got {alpha!r}")
    return -float(ndtri(alpha))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p-value of no difference: min(1, 2 BinCDF(min(b, c); b + c, 1/2)); 1 for b+c=0.

    Source: Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology 13:91.
    """
    _check_pairs(b, c, b + c + 1)
    if b + c == 0:
        return 1.0
    return min(1.0, 2 * float(binom.cdf(min(b, c), b + c, 0.5)))


def mcnemar_mid_p(b: int, c: int) -> float:
    """Two-sided mid-p of no difference: the exact one less BinPMF(min(b, c)); 1 for b + c = 0.

    For b = c it is 1 - BinPMF(b; 2b, 1/2) / 2. Source: Fagerland et al. 2013, as above.
    """
    _check_pairs(b, c, b + c + 1)
    if b + c == 0:
        return 1.0
    point = float(binom.pmf(min(b, c), b + c, 0.5))
    if b == c:
        return 1 - point / 2
    return 2 * float(binom.cdf(min(b, c), b + c, 0.5)) - point


def tango_score(b: Any, c: Any, n: int, difference: float) -> Any:
    """Tango's T at a hypothetical difference in (-1, 1); decreasing in it, normal if it is true.

    Of two arrays of counts the array of their scores. Source: Tango 1998, as below.
    """
    d = difference
    quadratic_b = -c - b + (2 * n - c + b) * d
    quadratic_c = -b * d * (1 - d)
    root = np.sqrt(np.maximum(quadratic_b**2 - 8 * n * quadratic_c, 0.0))
    numerator = c - b - n * d
    with np.errstate(divide="ignore", invalid="ignore"):
        # The larger root, in the form that does not cancel where B > 0.
        q = np.where(
            quadratic_b <= 0,
            (root - quadratic_b) / (4 * n),
            -2 * quadratic_c / (root + quadratic_b),
        )
        variance = n * (2 * q + d * (1 - d))
        infinite = np.where(numerator == 0, 0.0, np.copysign(np.inf, numerator))
        scores = np.where(variance > 0, numerator / np.sqrt(variance), infinite)
    return scores if scores.ndim else float(scores)


def tango_interval(b: int, c: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Score interval for the difference of two paired proportions, in [-1, 1].

    With no discordant pair the bounds are ``-+z**2 / (n + z**2)``, not 0.
    Raises ValueError unless b + c <= n, n > 0.
    Source: Tango 1998, Statistics in Medicine 17:891-908.
    """
    _check_pairs(b, c, n)
    return -_tango_upper(c, b, n, alpha), _tango_upper(b, c, n, alpha)


def _tango_upper(b: int, c: int, n: int, alpha: float) -> float:
    """Where T falls to -z. The lower bound is its mirror: swap b and c and the sign."""
    z = _z(alpha / 2)
    if c == n:
        return 1.0
    if b + c == 0:
        return z * z / (n + z * z)
    edge = 1 - 1e-14
    if tango_score(b, c, n, edge) > -z:
        return 1.0
    return float(brentq(lambda d: tango_score(b, c, n, d) + z, (c - b) / n, edge, xtol=1e-14))


def tango_noninferiority_p(b: int, c: int, n: int, *, margin: float) -> float:
    """One-sided p-value of "the difference is -margin or less": 1 - Phi(T(-margin)).

    ``margin`` in [0, 1). Below alpha exactly where the (1 - 2 alpha) Tango interval
    lies above -margin. Source: Tango 1998, as above.
    """
    _check_pairs(b, c, n)
    if not 0 <= margin < 1:
        raise ValueError(f"a margin lies in [0, 1), got {margin!r}")
    return float(norm.sf(tango_score(b, c, n, -margin)))


def _wilson(successes: int, n: int, z: float) -> tuple[float, float]:
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half


def newcombe_interval(
    both: int, only_candidate: int, only_baseline: int, neither: int, *, alpha: float = 0.05
) -> tuple[float, float]:
    """Square-and-add interval for the paired difference (method 10), in [-1, 1].

    The correlation's numerator, where positive, is reduced by n/2 and floored at 0.
    Raises ValueError for negative or no counts.
    Source: Newcombe 1998, Statistics in Medicine 17:2635-2650.
    """
    table = (both, only_candidate, only_baseline, neither)
    n = sum(table)
    if n <= 0 or min(table) < 0:
        raise ValueError(f"need four counts >= 0, not all 0, got {table}")
    z = _z(alpha / 2)
    row, column = both + only_candidate, both + only_baseline
    p1, p2 = row / n, column / n
    low1, high1 = _wilson(row, n, z)
    low2, high2 = _wilson(column, n, z)
    numerator: float = both * neither - only_candidate * only_baseline
    if numerator > 0:
        numerator = max(numerator - n / 2, 0.0)
    product = row * (n - row) * column * (n - column)
    phi = numerator / math.sqrt(product) if product > 0 else 0.0
    difference = (only_candidate - only_baseline) / n

    def half(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    return (
        difference - half(p1 - low1, high2 - p2),
        difference + half(high1 - p1, p2 - low2),
    )


def clopper_pearson(successes: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Exact interval for one proportion, in [0, 1]; each side errs at most alpha / 2.

    Source: Clopper & Pearson 1934, Biometrika 26:404-413.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n > 0, got {successes} of {n}")
    _z(alpha)
    low = 0.0 if successes == 0 else float(beta.ppf(alpha / 2, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.isf(alpha / 2, successes + 1, n - successes))
    return low, high


def proportion_standard_error(p: float, n: int) -> float:
    """sqrt(p (1 - p) / (n - 1)), as lm-eval reports it; needs n >= 2."""
    if n < 2 or not 0 <= p <= 1:
        raise ValueError(f"need n >= 2 and p in [0, 1], got p={p!r}, n={n}")
    return math.sqrt(p * (1 - p) / (n - 1))


def icat(language_score: float, stereotype_score: float) -> float:
    """StereoSet's idealised CAT score, in percent: 100 is a model that prefers sense to
    nonsense always and a stereotype to its opposite half of the time.

    Both scores in percent; language_score * min(s, 100 - s) / 50.
    Source: Nadeem et al. 2021, StereoSet, ACL, section 5.4.
    """
    if not (0 <= language_score <= 100 and 0 <= stereotype_score <= 100):
        raise ValueError(f"scores lie in [0, 100], got {language_score!r}, {stereotype_score!r}")
    return language_score * min(stereotype_score, 100 - stereotype_score) / 50


def win_rate(
    wins: int, losses: int, ties: int, *, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Win rate over paired comparisons, a tie counting half, and its interval, in [0, 1].

    The rate is (1 + d) / 2 with d = (wins - losses) / n, a difference of paired
    proportions, so the interval is Tango's mapped the same way; without ties that
    is Wilson's interval. Raises ValueError where there is no comparison.
    """
    n = wins + losses + ties
    if ties < 0:
        raise ValueError(f"ties >= 0, got {ties}")
    low, high = tango_interval(losses, wins, n, alpha=alpha)
    return float(Fraction(2 * wins + ties, 2 * n)), (1 + low) / 2, (1 + high) / 2


def corrected_rate(
    p: float,
    n: int,
    *,
    specificity: float,
    num_negatives: int,
    sensitivity: float,
    num_positives: int,
) -> tuple[float, float]:
    """The true rate behind a fallible judge's rate ``p`` of ``n``, and its standard error.

    ``specificity`` was measured on ``num_negatives`` items that people call wrong,
    ``sensitivity`` on ``num_positives`` that they call right. The rate is clipped to
    [0, 1]. Raises ValueError where the judge is no better than a coin.
    Source: Rogan & Gladen 1978, American Journal of Epidemiology 107:71-76.
    """
    if min(n, num_negatives, num_positives) <= 0:
        raise ValueError("n, num_negatives and num_positives must be positive")
    youden = specificity + sensitivity - 1
    if youden <= 0:
        raise ValueError(f"specificity + sensitivity must exceed 1, got {youden + 1!r}")
    rate = min(max((p + specificity - 1) / youden, 0.0), 1.0)
    variance = (
        p * (1 - p) / n
        + (1 - rate) ** 2 * specificity * (1 - specificity) / num_negatives
        + rate**2 * sensitivity * (1 - sensitivity) / num_positives
    )
    return rate, math.sqrt(variance) / youden
