"""Tango's interval, held to its error: what the gate reads paired 0/1 outcomes by.

Tango's score has a normal distribution only nearly. Where many items change sides, a lower
bound that should lie above the truth once in forty times does so up to .028 of the time (at
100 items; .039 below 20). Here the chance is computed: the binomial sums over every outcome,
at every discordance that the data leave possible, and a bound that errs too often is moved
out until it does not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, gammaln, xlog1py, xlogy
from scipy.stats import binom

from eval.stats_binary import clopper_pearson, tango_interval, tango_score

DISCORDANCES = 24  # where the chance is looked at; it is smooth between them
UNLIKELY = 1e-4  # chance that the discordance lies outside what is looked at: part of the error
NEGLIGIBLE = 1e-9  # chance of the numbers of discordant pairs that are left out of a sum
SMALLEST_LEVEL = 1e-3  # of alpha: how far out a bound may be moved
STEPS = 8  # halvings of that range

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def noninferiority_p(b: int, c: int, n: int, *, difference: float) -> float:
    """Chance of a Tango score as high as this one or higher where ``difference`` is the truth.

    The largest over the discordances that the data leave possible, and ``UNLIKELY`` more for
    those that they do not, so a test that rejects at p <= alpha errs alpha at most, whatever
    the discordance. ``difference`` in (-1, 1), candidate minus baseline; needs n > 0, b + c <= n.
    Source: Berger & Boos 1994, JASA 89:1012-1016, on the test of Hsueh, Liu & Chen 2001,
    Biometrics 57:478-483.
    """
    q = discordances(b + c, n, abs(difference))
    seen = tango_score(b, c, n, difference)
    low, high = _usual(n, float(q[0]))[0], _usual(n, float(q[-1]))[1]
    moved = np.arange(low, high + 1)
    fewest = _fewest_wins(moved, n, difference, seen)
    won = np.clip((1 + difference / q) / 2, 0.0, 1.0)
    passing = bdtrc(fewest[:, None] - 1, moved[:, None], won)
    chance = float((_chances(moved, n, q) * passing).sum(axis=0).max())
    return min(1.0, chance + NEGLIGIBLE + UNLIKELY)


def _chances(moved: Counts, n: int, q: Floats) -> Floats:
    """Binomial probabilities of numbers of discordant pairs (rows) at each share (columns)."""
    ways = gammaln(n + 1) - gammaln(moved + 1) - gammaln(n - moved + 1)
    k = moved[:, None]
    found: Floats = np.exp(ways[:, None] + xlogy(k, q) + xlog1py(n - k, -q))
    return found


def _usual(n: int, q: float) -> tuple[int, int]:
    """Numbers of discordant pairs that all but ``NEGLIGIBLE`` of the chance lies between."""
    low, high = binom.ppf([NEGLIGIBLE / 2, 1 - NEGLIGIBLE / 2], n, q)
    return max(int(low) - 1, 0), min(int(high) + 1, n)


def discordances(moved: int, n: int, least: float) -> Floats:
    """Shares of discordant pairs that ``moved`` of ``n`` leave possible, none below ``least``."""
    low, high = _possible(moved, n)
    least = max(least, 1e-12)
    return np.linspace(max(low, least), max(high, least), DISCORDANCES)


@lru_cache(maxsize=65536)
def _possible(moved: int, n: int) -> tuple[float, float]:
    return clopper_pearson(moved, n, alpha=UNLIKELY)


def _fewest_wins(moved: Counts, n: int, difference: float, seen: float) -> Counts:
    """For each number of discordant pairs the fewest wins whose score reaches ``seen``."""
    low, high = np.zeros_like(moved), moved + 1
    reach = seen - 1e-9 * max(1.0, abs(seen))
    while (low < high).any():
        middle = (low + high) // 2
        wins = np.minimum(middle, moved)
        enough = (tango_score(moved - wins, wins, n, difference) >= reach) & (middle <= moved)
        going = low < high
        high = np.where(going & enough, middle, high)
        low = np.where(going & ~enough, middle + 1, low)
    return low


@lru_cache(maxsize=65536)
def paired_score_interval(b: int, c: int, n: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """Interval for the difference of two paired proportions, in [-1, 1]; each side errs at
    most alpha / 2, whatever the discordance.

    Tango's, and where its bound would err more often, the bound of a smaller alpha: the
    largest at which ``noninferiority_p`` is alpha / 2 at most. Raises ValueError unless
    b + c <= n, n > 0.
    """
    return _lower(b, c, n, alpha), -_lower(c, b, n, alpha)


def _lower(b: int, c: int, n: int, alpha: float) -> float:
    def bound(share: float) -> float:
        return tango_interval(b, c, n, alpha=share * alpha)[0]

    def errs_too_often(low: float) -> bool:
        return low > -1 and noninferiority_p(b, c, n, difference=low) > alpha / 2

    kept = bound(1.0)
    if not errs_too_often(kept):
        return kept
    too_wide, too_narrow = SMALLEST_LEVEL, 1.0
    kept = bound(too_wide)
    for _ in range(STEPS):
        share = (too_wide + too_narrow) / 2
        low = bound(share)
        if errs_too_often(low):
            too_narrow = share
        else:
            too_wide, kept = share, low
    return kept
