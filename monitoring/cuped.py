"""CUPED: what a unit did before the experiment takes noise out of what it does in it.

The outcome less theta times the unit's history has the same expected difference between
arms, for history was there before the assignment, and a variance smaller by the square
of their correlation. Units without history keep their outcome.
Source: Deng, Xu, Kohavi & Walker 2013, WSDM, "Improving the sensitivity of online
controlled experiments by utilizing pre-experiment data", section 3.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from monitoring.inference import Moments

MIN_UNITS = 30  # with history, in each arm; below, theta is noise


@dataclass(frozen=True)
class Adjusted:
    """``arms`` are the adjusted moments; ``variance_kept`` is their pooled variance over the
    unadjusted one, in [0, 1] but for rounding, 1 where history tells nothing."""

    arms: dict[str, Moments]
    theta: float
    variance_kept: float


def adjust(
    outcomes: Mapping[str, Mapping[str, float]], history: Mapping[str, float]
) -> Adjusted | None:
    """Adjust each arm's outcomes, by unit, for the units' history.

    None where fewer than MIN_UNITS of an arm have history, or history or outcome does not
    vary. Theta is the pooled slope within arms, so that an effect does not enter it; the
    history is centred on its mean over all arms.
    """
    known = {arm: [unit for unit in units if unit in history] for arm, units in outcomes.items()}
    if not known or min(map(len, known.values())) < MIN_UNITS:
        return None
    covariance = spread = 0.0
    for arm, units in known.items():
        past = statistics.fmean(history[unit] for unit in units)
        now = statistics.fmean(outcomes[arm][unit] for unit in units)
        covariance += sum((history[u] - past) * (outcomes[arm][u] - now) for u in units)
        spread += sum((history[u] - past) ** 2 for u in units)
    plain = {arm: Moments.of_values(list(units.values())) for arm, units in outcomes.items()}
    before = sum(one.variance * one.n for one in plain.values())
    if spread == 0 or before == 0:
        return None
    theta = covariance / spread
    centre = statistics.fmean(history[unit] for units in known.values() for unit in units)
    arms = {
        arm: Moments.of_values(
            [
                value - theta * (history[unit] - centre if unit in history else 0.0)
                for unit, value in units.items()
            ]
        )
        for arm, units in outcomes.items()
    }
    after = sum(one.variance * one.n for one in arms.values())
    return Adjusted(arms, theta, after / before)
