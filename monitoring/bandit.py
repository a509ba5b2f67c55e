"""A bandit's shares: how to split the next batch of units, and how to read such a log.

Within a batch the shares are fixed, so each is exactly the chance with which a unit gets
its arm: the propensity that the log keeps. With a floor below every share the log stays
readable for any other policy (inverse propensity weighting). Outcomes are 0/1 or shares
by unit, with a Beta(1, 1) prior.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Method = Literal["thompson", "top-two"]
GRID = 4000


@dataclass(frozen=True)
class Outcomes:
    """Sum of an arm's outcomes in [0, 1], and their number."""

    total: float
    n: int


def chances_of_best(arms: Mapping[str, Outcomes]) -> dict[str, float]:
    """The posterior probability that each arm has the highest mean; they add up to 1.

    By quadrature over the arm's own quantiles, P = integral over u of the product of the
    others' CDFs at F_arm^-1(u): no random numbers, error below 1e-3.
    """
    if not arms:
        raise ValueError("a bandit needs arms")
    places = (np.arange(GRID) + 0.5) / GRID
    posterior = {
        name: stats.beta(1 + one.total, 1 + one.n - one.total) for name, one in arms.items()
    }
    found = {}
    for name, own in posterior.items():
        at: NDArray[np.float64] = own.ppf(places)
        others = [other.cdf(at) for key, other in posterior.items() if key != name]
        found[name] = float(np.prod(others, axis=0).mean()) if others else 1.0
    whole = math.fsum(found.values())
    return {name: chance / whole for name, chance in found.items()}


def shares(arms: Mapping[str, Outcomes], method: Method, *, floor: float) -> dict[str, float]:
    """The share of units that each arm gets next, at least ``floor`` each; the sum is 1.

    ``thompson`` gives an arm its chance to be the best. ``top-two`` gives half of that and
    half to the best of the others, which finds the best arm sooner.
    Sources: Thompson 1933, Biometrika 25:285-294; Russo 2016, COLT, "Simple Bayesian
    algorithms for best arm identification", section 4.3, with beta = 1/2.
    """
    if not 0 < floor * len(arms) <= 1:
        raise ValueError(f"a floor of {floor} does not fit {len(arms)} arms; the sum is over 1")
    best = chances_of_best(arms)
    if method == "top-two" and len(arms) > 1:
        best = _top_two(best)
    spare = 1 - floor * len(arms)
    return {name: floor + spare * chance for name, chance in best.items()}


def _top_two(best: Mapping[str, float]) -> dict[str, float]:
    found = {name: chance / 2 for name, chance in best.items()}
    for first, chance in best.items():
        others = {name: one for name, one in best.items() if name != first}
        whole = math.fsum(others.values())  # not 1 - chance, which may be rounded to 0
        for name, one in others.items():
            found[name] += chance / 2 * (one / whole if whole else 1 / len(others))
    return found


def weighted_mean(outcomes: Iterable[tuple[float, float]]) -> float | None:
    """An arm's mean from (outcome, propensity) of its units, each weighted by 1/propensity.

    None without outcomes. A plain mean over a bandit's log mixes batches in proportion to
    how well the arm did before. Source: Hajek 1971; Horvitz & Thompson 1952, JASA 47:663-685.
    """
    total = weight = 0.0
    for outcome, propensity in outcomes:
        if not 0 < propensity <= 1:
            raise ValueError(f"a propensity is above 0 and at most 1, got {propensity}")
        total += outcome / propensity
        weight += 1 / propensity
    return total / weight if weight else None
