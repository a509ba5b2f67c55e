"""Statistics of numeric differences: paired, clustered, by sign flips, and of a ratio.

Interval rules share one result, ``Interval``; an unbounded side is -inf or +inf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from scipy.stats import t as student_t

from eval.stats_binary import exact

Floats = NDArray[np.float64]
MAX_FLIPPED_GROUPS = 20  # 2**20 sign patterns; more need draws


@dataclass(frozen=True)
class Interval:
    """An estimate, its standard error (None where the rule has none), and its two bounds."""

    estimate: float
    standard_error: float | None
    low: float
    high: float

    def mirrored(self) -> Interval:
        """The same with the two sides swapped."""
        return Interval(-self.estimate, self.standard_error, -self.high, -self.low)


def _t_interval(estimate: float, se: float, df: int, alpha: float) -> Interval:
    half = float(student_t.isf(alpha / 2, df)) * se
    return Interval(estimate, se, estimate - half, estimate + half)


def exact_mean(values: Sequence[float]) -> Fraction:
    """The mean of the decimals as written, without rounding."""
    return sum((exact(v) for v in values), Fraction(0)) / len(values)


def paired_t(
    differences: Sequence[float], *, alpha: float = 0.05
) -> tuple[Interval, float | None, float | None]:
    """Mean difference with its t interval, t and two-sided p (None where all are equal).

    Raises ValueError for fewer than two differences.
    """
    n = len(differences)
    if n < 2:
        raise ValueError(f"a t interval needs at least two differences, got {n}")
    mean = exact_mean(differences)
    square = sum(((exact(d) - mean) ** 2 for d in differences), Fraction(0))
    se = math.sqrt(square / (n * (n - 1)))
    interval = _t_interval(float(mean), se, n - 1, alpha)
    if se == 0:
        return interval, None, None
    t = float(mean) / se
    return interval, t, 2 * float(student_t.sf(abs(t), n - 1))


def _cluster_sums(
    values: Sequence[float], clusters: Sequence[str]
) -> tuple[list[Fraction], list[int]]:
    """Exact sum and size of each cluster, in order of first appearance."""
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values but {len(clusters)} cluster names")
    sums: dict[str, Fraction] = {}
    sizes: dict[str, int] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, Fraction(0)) + exact(value)
        sizes[cluster] = sizes.get(cluster, 0) + 1
    return list(sums.values()), list(sizes.values())


def cluster_standard_error(
    values: Sequence[float], clusters: Sequence[str], *, correction: bool = True
) -> float:
    """Standard error of a mean whose items share clusters: CR1, or CR0 without correction.

    sqrt(sum over clusters of (sum of residuals)^2) / n, times sqrt(G / (G - 1)) for CR1.
    Raises ValueError for fewer than two clusters.
    Source: Liang & Zeger 1986, Biometrika 73:13-22; Cameron & Miller 2015, JHR 50:317-372.
    """
    sums, sizes = _cluster_sums(values, clusters)
    num_groups, n = len(sums), len(values)
    if num_groups < 2:
        raise ValueError(f"a cluster interval needs at least two clusters, got {num_groups}")
    mean = sum(sums, Fraction(0)) / n
    square = sum(((s - size * mean) ** 2 for s, size in zip(sums, sizes, strict=True)), Fraction(0))
    if correction:
        square = square * num_groups / (num_groups - 1)
    return math.sqrt(square) / n


def cluster_interval(
    values: Sequence[float], clusters: Sequence[str], *, alpha: float = 0.05
) -> Interval:
    """Mean with its CR1 interval from t with G - 1 degrees of freedom.

    With fewer than ten clusters use ``sign_flip_interval``. Raises ValueError below two.
    """
    se = cluster_standard_error(values, clusters)
    df = len(set(clusters)) - 1
    return _t_interval(float(exact_mean(values)), se, df, alpha)


def korn_graubard_interval(
    values: Sequence[float], clusters: Sequence[str], *, alpha: float = 0.05
) -> tuple[float, float]:
    """Clopper-Pearson bounds of a share whose 0/1 items share clusters, at its effective size.

    The effective size p(1 - p) / se**2 with the CR1 error, times the squared ratio of the t
    quantiles with n - 1 and G - 1 degrees of freedom, at most n, and n where all items agree.
    The upper bound of a rare share holds where the t interval's is far too low.
    Source: Korn & Graubard 1998, Survey Methodology 24:193-201.
    """
    n, hits = len(values), sum(value == 1 for value in values)
    share = hits / n
    se = cluster_standard_error(values, clusters)
    size = float(n)
    if se > 0 and 0 < share < 1:
        df = len(set(clusters)) - 1
        ratio = float(student_t.isf(alpha / 2, n - 1) / student_t.isf(alpha / 2, df))
        size = min(size, share * (1 - share) / se**2 * ratio**2)
    x = share * size
    low = 0.0 if hits == 0 else float(beta.ppf(alpha / 2, x, size - x + 1))
    high = 1.0 if hits == n else float(beta.isf(alpha / 2, x + 1, size - x))
    return low, high


def _subset_sums(parts: Sequence[int]) -> list[int]:
    """Sums over all 2**G subsets, the empty one first."""
    sums = [0]
    for part in parts:
        sums += [s + part for s in sums]
    return sums


def sign_flip_p(
    differences: Sequence[float],
    clusters: Sequence[str] | None = None,
    *,
    rng: np.random.Generator | None = None,
    num_draws: int = 100_000,
) -> float:
    """Two-sided p-value that the mean is 0, by flipping the sign of each item or cluster.

    Exact (all patterns, in exact arithmetic, so that ties count as ties) up to 20
    groups; above that (1 + hits) / (1 + num_draws) over random patterns from ``rng``.
    Source: Fisher 1935, The Design of Experiments, section 21.
    """
    names = clusters if clusters is not None else [str(i) for i in range(len(differences))]
    sums, _ = _cluster_sums(differences, names)
    if not sums:
        raise ValueError("a sign-flip test needs at least one difference")
    scale = math.lcm(*(s.denominator for s in sums))
    parts = [int(s * scale) for s in sums]
    total = sum(parts)
    if len(parts) <= MAX_FLIPPED_GROUPS:
        hits = sum(abs(total - 2 * s) >= abs(total) for s in _subset_sums(parts))
        return hits / (1 << len(parts))
    if rng is None:
        raise ValueError(f"{len(parts)} groups: pass rng, all patterns are too many")
    floats = np.array([float(s) for s in sums])
    observed = abs(floats.sum()) * (1 - 1e-12)
    hits = 0
    for start in range(0, num_draws, 1000):
        signs = rng.integers(0, 2, size=(min(1000, num_draws - start), len(floats))) * 2 - 1
        hits += int((np.abs(signs @ floats) >= observed).sum())
    return (1 + hits) / (1 + num_draws)


def sign_flip_interval(
    values: Sequence[float], clusters: Sequence[str] | None = None, *, alpha: float = 0.05
) -> Interval:
    """Interval of shifts that the sign-flip test by cluster does not reject, alpha / 2 a side.

    A bound is the k-th extreme of the 2**G - 1 means over non-empty sets of clusters,
    k = floor(alpha / 2 * 2**G); with k = 0 (five clusters or fewer at .05) it is
    infinite: nothing can be certified. Exact for at most 20 groups; assumes that
    cluster sums are symmetric. Source: Hartigan 1969, JASA 64:1303-1317.
    """
    names = clusters if clusters is not None else [str(i) for i in range(len(values))]
    sums, sizes = _cluster_sums(values, names)
    if not 1 <= len(sums) <= MAX_FLIPPED_GROUPS:
        raise ValueError(f"need 1 to {MAX_FLIPPED_GROUPS} groups, got {len(sums)}")
    estimate = float(sum(sums, Fraction(0)) / sum(sizes))
    k = math.floor(exact(alpha) / 2 * (1 << len(sums)))
    if k == 0:
        return Interval(estimate, None, -math.inf, math.inf)
    scale = math.lcm(*(s.denominator for s in sums))
    totals = _subset_sums([int(s * scale) for s in sums])[1:]
    counts = _subset_sums(sizes)[1:]
    means = sorted(Fraction(s, n * scale) for s, n in zip(totals, counts, strict=True))
    return Interval(estimate, None, float(means[k - 1]), float(means[-k]))


def sparse_interval(num_nonzero: int, n: int, reach: float, *, alpha: float = 0.05) -> float:
    """How far from 0 a mean can be when only ``num_nonzero`` of ``n`` differences are not 0.

    ``reach`` times the Clopper-Pearson upper bound of the share that differs: the true
    mean lies within it with error alpha / 2 a side, where no difference exceeds
    ``reach``. A t interval has width 0 when nothing differs; this has not.
    """
    if n <= 0 or not 0 <= num_nonzero <= n:
        raise ValueError(f"need 0 <= num_nonzero <= n and n > 0, got {num_nonzero} of {n}")
    if num_nonzero == n:
        return reach
    return reach * float(beta.isf(alpha / 2, num_nonzero + 1, n - num_nonzero))


def jackknife_ratio_interval(
    bits: Sequence[float],
    weights: Sequence[float],
    baseline_bits: Sequence[float] | None = None,
    *,
    alpha: float = 0.05,
) -> Interval:
    """Sum of bits over sum of weights, or its paired difference, by delete-one jackknife.

    One entry per document (or cluster). With ``baseline_bits`` of the same documents
    the estimate is candidate minus baseline, in bits per unit of weight, lower better.
    t with n - 1 degrees of freedom. Raises ValueError for fewer than two documents or
    weights that leave nothing once one document is deleted.
    Source: Efron & Stein 1981, Annals of Statistics 9:586-596.
    """
    values: Floats = np.asarray(bits, dtype=np.float64)
    if baseline_bits is not None:
        values = values - np.asarray(baseline_bits, dtype=np.float64)
    sizes: Floats = np.asarray(weights, dtype=np.float64)
    n = len(values)
    if n < 2 or len(sizes) != n:
        raise ValueError(f"need two or more documents with one weight each, got {n}, {len(sizes)}")
    if not (np.isfinite(values).all() and np.isfinite(sizes).all()):
        raise ValueError("bits and weights must be finite")
    total, weight = math.fsum(values), math.fsum(sizes)
    rest = weight - sizes
    if sizes.min() < 0 or rest.min() <= 0:
        raise ValueError("weights must be >= 0 and no document may hold all of them")
    left_out = (total - values) / rest
    se = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    return _t_interval(total / weight, se, n - 1, alpha)
