"""How many items a decision needs, and what a number of items can decide.

``alpha`` is one-sided here, as in a policy's entry.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom, nct, norm
from scipy.stats import t as student_t

from eval.stats_binary import tango_noninferiority_p
from eval.stats_exact import paired_score_interval


def smallest_margin(n: int, *, alpha: float = 0.025) -> float:
    """The margin that ``n`` paired 0/1 items cannot certify even without one discordant pair.

    The distance of the lower bound from 0, which a margin must exceed: Tango's z^2 / (n + z^2),
    and a little more below fifty items.
    """
    return -paired_score_interval(0, 0, n, alpha=2 * alpha)[0]


def num_for_zero_harm(budget: float, *, alpha: float = 0.025) -> int:
    """Fewest items whose Clopper-Pearson upper bound is within ``budget`` at zero harms."""
    if not 0 < budget < 1:
        raise ValueError(f"a budget lies between 0 and 1, got {budget!r}")
    return math.ceil(math.log(alpha) / math.log1p(-budget))


def num_for_paired_binary(
    discordance: float,
    margin: float,
    *,
    difference: float = 0.0,
    alpha: float = 0.025,
    power: float = 0.8,
) -> int:
    """Pairs for a non-inferiority test, by the normal approximation.

    (z_alpha + z_power)^2 (discordance - difference^2) / (margin + difference)^2.
    Source: Lu & Bean 1995, Statistics in Medicine 14:1831-1839.
    """
    if not 0 < discordance <= 1 or abs(difference) > discordance:
        raise ValueError(f"need |difference| <= discordance <= 1, got {difference}, {discordance}")
    if margin + difference <= 0:
        raise ValueError(f"a true difference of {difference} is not within the margin {margin}")
    z = float(norm.isf(alpha)) + float(norm.ppf(power))
    return math.ceil(z * z * (discordance - difference**2) / (margin + difference) ** 2)


def power_tango(
    n: int,
    *,
    margin: float,
    discordance: float,
    difference: float = 0.0,
    alpha: float = 0.025,
) -> float:
    """Chance that Tango's test at one-sided ``alpha`` certifies ``margin``, by enumeration.

    Sums over the number of discordant pairs; for each, the fewest candidate-only pairs
    that pass are found by bisection. At ``difference = -margin`` it is the false-PASS rate.
    The gate reads by ``paired_score_interval``, which passes no more and hardly less.
    """
    if n <= 0 or not 0 < margin < 1:
        raise ValueError(f"need n > 0 and margin in (0, 1), got n={n}, margin={margin!r}")
    if not 0 < discordance <= 1 or abs(difference) > discordance:
        raise ValueError(f"need |difference| <= discordance <= 1, got {difference}, {discordance}")
    share = (1 + difference / discordance) / 2
    low, high = (int(k) for k in binom.ppf([1e-12, 1 - 1e-12], n, discordance))
    counts = np.arange(max(low - 1, 0), min(high + 1, n) + 1)
    fewest = np.array([least_wins(int(d), n, margin, alpha) for d in counts])
    return float((binom.pmf(counts, n, discordance) * binom.sf(fewest - 1, counts, share)).sum())


def least_wins(discordant: int, n: int, margin: float, alpha: float) -> int:
    """Smallest c with b = discordant - c by which Tango's test certifies; else discordant + 1."""
    low, high = 0, discordant + 1
    while low < high:
        c = (low + high) // 2
        if tango_noninferiority_p(discordant - c, c, n, margin=margin) < alpha:
            high = c
        else:
            low = c + 1
    return low


def power_mean(
    n: int, *, margin: float, sd: float, difference: float = 0.0, alpha: float = 0.025
) -> float:
    """Chance that a t interval of ``n`` differences lies above -margin (noncentral t).

    For a limit, ``margin`` is the candidate's distance from it and ``sd`` that of its values.
    """
    if n < 2 or sd <= 0:
        raise ValueError(f"need n >= 2 and sd > 0, got n={n}, sd={sd!r}")
    shift = (margin + difference) * math.sqrt(n) / sd
    critical = float(student_t.isf(alpha, n - 1))
    if abs(shift) > 30:  # scipy's noncentral t loses its digits out here
        return float(norm.sf(critical - shift))
    return min(max(float(nct.sf(critical, n - 1, shift)), 0.0), 1.0)


def power_limit_binary(
    n: int, *, limit: float, value: float, higher_is_better: bool, alpha: float = 0.025
) -> float:
    """Chance that the Clopper-Pearson interval clears ``limit`` when the true rate is ``value``.

    From below for a minimum, from above for a maximum; exact.
    """
    if n <= 0 or not 0 <= limit <= 1 or not 0 <= value <= 1:
        raise ValueError(f"need n > 0, limit and value in [0, 1], got {n}, {limit}, {value}")
    if not higher_is_better:
        return power_limit_binary(
            n, limit=1 - limit, value=1 - value, higher_is_better=True, alpha=alpha
        )
    counts = np.arange(n + 1)
    passing = counts[binom.sf(counts - 1, n, limit) <= alpha]
    if limit == 0:
        return 1.0
    return float(binom.sf(passing[0] - 1, n, value)) if len(passing) else 0.0
