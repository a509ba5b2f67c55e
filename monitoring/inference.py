"""Formulas for live experiments: sample ratio, differences, confidence sequences.

A fixed-horizon interval holds for one look, at the planned sample. A confidence
sequence ("always valid") holds for all looks together, so a dashboard may show it
at any time and a rollback may act on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy import optimize, stats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Moments:
    """Number, mean and variance of one arm's outcomes, one outcome per unit."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of_counts(cls, successes: int, n: int) -> Moments:
        """Of ``n`` 0/1 outcomes; the variance is p(1-p), with no correction."""
        if not 0 <= successes <= n or n == 0:
            raise ValueError(f"need 0 <= successes <= n and n > 0, got {successes} of {n}")
        share = successes / n
        return cls(n, share, share * (1 - share))

    @classmethod
    def of_values(cls, values: Sequence[float]) -> Moments:
        """Of numbers; the variance is the sample's (n - 1), 0 for a single value."""
        if not values:
            raise ValueError("no values")
        n, mean = len(values), math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        return cls(n, mean, squares / (n - 1) if n > 1 else 0.0)

    @classmethod
    def of_sums(cls, n: int, total: float, squares: float) -> Moments:
        """Of ``n`` numbers by their sum and the sum of their squares."""
        if n < 1:
            raise ValueError("no values")
        rest = max(0.0, squares - total**2 / n)
        return cls(n, total / n, rest / (n - 1) if n > 1 else 0.0)


def srm_pvalue(units: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """Chi-square p that the arms' unit counts came from the planned weights, in [0, 1].

    Arms of weight 0 leave both the total and the degrees of freedom. 1 where no unit
    was seen or only one arm has weight. Alarm below .001: a mismatch means that the
    assignment or the counting is broken, and no number of the experiment can be trusted.
    Source: Fabijan et al. 2019, KDD, "Diagnosing sample ratio mismatch".
    """
    planned = {arm: weight for arm, weight in weights.items() if weight > 0}
    total = sum(units.get(arm, 0) for arm in planned)
    if total == 0 or len(planned) < 2:
        return 1.0
    scale = total / math.fsum(planned.values())
    statistic = math.fsum(
        (units.get(arm, 0) - weight * scale) ** 2 / (weight * scale)
        for arm, weight in planned.items()
    )
    return float(stats.chi2.sf(statistic, len(planned) - 1))


def balance_pvalue(responded: Mapping[str, int], units: Mapping[str, int]) -> float | None:
    """Chi-square p that the same share of units gave feedback in every arm, in [0, 1].

    None where there is nothing to compare: fewer than two arms with units, or all
    units or none responded.
    """
    seen = {arm: count for arm, count in units.items() if count > 0}
    total, voices = sum(seen.values()), sum(responded.get(arm, 0) for arm in seen)
    if len(seen) < 2 or voices in (0, total):
        return None
    share = voices / total
    statistic = math.fsum(
        (responded.get(arm, 0) - count * share) ** 2 / (count * share * (1 - share))
        for arm, count in seen.items()
    )
    return float(stats.chi2.sf(statistic, len(seen) - 1))


@dataclass(frozen=True)
class Difference:
    """Treatment minus control, with an interval; ``p`` is None for confidence sequences."""

    estimate: float
    low: float
    high: float
    p: float | None = None


def fixed_horizon_difference(
    control: Moments, treatment: Moments, *, alpha: float = 0.05
) -> Difference | None:
    """Welch's t interval and two-sided p for treatment minus control.

    For one look only. None where it is undefined: an arm of one unit, or no variance.
    Source: Welch 1947, Biometrika 34:28-35.
    """
    parts = [arm.variance / arm.n for arm in (control, treatment)]
    if min(control.n, treatment.n) < 2 or sum(parts) == 0:
        return None
    degrees = sum(parts) ** 2 / (
        parts[0] ** 2 / (control.n - 1) + parts[1] ** 2 / (treatment.n - 1)
    )
    estimate, error = treatment.mean - control.mean, math.sqrt(sum(parts))
    half = float(stats.t.ppf(1 - alpha / 2, degrees)) * error
    p = 2 * float(stats.t.sf(abs(estimate) / error, degrees))
    return Difference(estimate, estimate - half, estimate + half, p)


def tuned_rho(num_expected: float, *, alpha: float = 0.05) -> float:
    """The mixture's rho that makes the sequence narrowest at ``num_expected`` observations.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, Annals of Statistics
    52:2613-2640, appendix B.2.
    """
    if num_expected <= 0:
        raise ValueError(f"num_expected must be above 0, got {num_expected}")
    return math.sqrt((-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / num_expected)


def sequence_half_width(n: int, deviation: float, rho: float, *, alpha: float = 0.05) -> float:
    """Half-width after ``n`` observations of the asymptotic confidence sequence of a mean.

    Holds at all n at once as n grows; below some thirty observations, or with an
    estimated deviation of 0, it promises nothing. Source: as ``tuned_rho``, theorem 2.2.
    """
    scaled = n * rho**2 + 1
    return deviation * math.sqrt(2 * scaled / (n**2 * rho**2) * math.log(math.sqrt(scaled) / alpha))


def always_valid_difference(
    control: Moments, treatment: Moments, *, num_expected: float, alpha: float = 0.05
) -> Difference | None:
    """Asymptotic confidence sequence of treatment minus control.

    ``num_expected`` is the number of units in both arms at which the interval should be
    narrowest. None where the variance is 0: the width would be 0 and prove nothing.
    """
    n = control.n + treatment.n
    variance = n * (control.variance / control.n + treatment.variance / treatment.n)
    if variance == 0:
        return None
    half = sequence_half_width(
        n, math.sqrt(variance), tuned_rho(num_expected, alpha=alpha), alpha=alpha
    )
    estimate = treatment.mean - control.mean
    return Difference(estimate, estimate - half, estimate + half)


def one_sided_half_width(n: int, deviation: float, rho: float, *, alpha: float = 0.05) -> float:
    """As ``sequence_half_width``, for a bound on one side only, which is narrower.

    Tune ``rho`` with ``tuned_rho(num_expected, alpha=2 * alpha)``. Source: as
    ``tuned_rho``, appendix B.1.
    """
    scaled = n * rho**2 + 1
    return deviation * math.sqrt(
        2 * scaled / (n**2 * rho**2) * math.log1p(math.sqrt(scaled) / (2 * alpha))
    )


def always_valid_mean(
    moments: Moments, *, num_expected: float, alpha: float = 0.05
) -> Interval | None:
    """Asymptotic confidence sequence of one mean; None where the variance is 0."""
    if moments.variance == 0:
        return None
    rho = tuned_rho(num_expected, alpha=alpha)
    half = sequence_half_width(moments.n, math.sqrt(moments.variance), rho, alpha=alpha)
    return (moments.mean - half, moments.mean + half)


_EDGE = 1e-12


def always_valid_share(
    total: float, n: int, *, num_expected: float, alpha: float = 0.05
) -> Interval:
    """Confidence sequence of the mean of outcomes in [0, 1], by the beta-binomial mixture.

    ``total`` is their sum. Exact at every n; (0, 1) for n = 0. For 0/1 outcomes the
    mixture is a martingale, for fractions between them a supermartingale, by convexity.
    Source: Howard, Ramdas, McAuliffe & Sekhon 2021, Annals of Statistics 49:1055-1080,
    as ``bernoulli_confidence_interval`` of their package confseq computes it.
    """
    bounds = (share_low, share_high)
    low, high = (bound(total, n, num_expected=num_expected, alpha=alpha) for bound in bounds)
    return (low, high)


def share_low(total: float, n: int, *, num_expected: float, alpha: float = 0.05) -> float:
    """The lower end of ``always_valid_share`` alone, in half the time."""
    excess = _excess(total, n, num_expected, alpha)
    if n == 0 or excess(_EDGE) <= 0:
        return 0.0
    return float(optimize.brentq(excess, _EDGE, _centre(total, n)))


def share_high(total: float, n: int, *, num_expected: float, alpha: float = 0.05) -> float:
    """The upper end of ``always_valid_share`` alone."""
    excess = _excess(total, n, num_expected, alpha)
    if n == 0 or excess(1 - _EDGE) <= 0:
        return 1.0
    return float(optimize.brentq(excess, _centre(total, n), 1 - _EDGE))


def _centre(total: float, n: int) -> float:
    return min(max(total / n, _EDGE), 1 - _EDGE)


def _excess(total: float, n: int, num_expected: float, alpha: float) -> Callable[[float], float]:
    """By how much a share's log mixture exceeds the threshold 1/alpha: above 0 is out."""
    if not 0 <= total <= n:
        raise ValueError(f"need 0 <= total <= n, got {total} of {n}")
    rho_scale = -2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))

    def excess(share: float) -> float:
        spread = share * (1 - share)
        r = max(num_expected * spread / rho_scale - spread, 1e-3 * spread)
        ups, downs = r / (1 - share), r / share
        log_ratio = _betaln(ups + total, downs + n - total) - _betaln(ups, downs)
        log_null = total * math.log(share) + (n - total) * math.log1p(-share)
        return log_ratio - log_null + math.log(alpha)

    return excess


def _betaln(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def required_sample(
    control: float, treatment: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Units per arm for a two-sided fixed-horizon test of two proportions.

    A confidence sequence needs more, two to three times as many. Source: Fleiss, Levin & Paik
    2003, Statistical Methods for Rates and Proportions, formula 4.14 (no correction),
    which R's power.prop.test follows.
    """
    if control == treatment:
        raise ValueError(f"no sample tells {control} from itself; give two proportions")
    pooled = (control + treatment) / 2
    z_alpha, z_power = float(stats.norm.ppf(1 - alpha / 2)), float(stats.norm.ppf(power))
    root = z_alpha * math.sqrt(2 * pooled * (1 - pooled)) + z_power * math.sqrt(
        control * (1 - control) + treatment * (1 - treatment)
    )
    return math.ceil((root / (treatment - control)) ** 2)


def required_sample_of_means(
    variance: float, difference: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Units per arm for a two-sided fixed-horizon test of two means of equal variance.

    The normal approximation: R's power.t.test(delta = 1, power = .90), whose example gives
    22.02, exceeds it by one unit.
    """
    if difference == 0:
        raise ValueError("no sample finds a difference of 0; give one that matters")
    z = float(stats.norm.ppf(1 - alpha / 2)) + float(stats.norm.ppf(power))
    return math.ceil(2 * variance * z**2 / difference**2)
