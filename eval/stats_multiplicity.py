"""Several tests read together: adjusted p-values."""

from __future__ import annotations

from collections.abc import Sequence


def _checked(p_values: Sequence[float]) -> list[float]:
    for p in p_values:
        if not 0 <= p <= 1:
            raise ValueError(f"a p-value lies in [0, 1], got {p!r}")
    return list(p_values)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; rejecting those <= alpha holds the family-wise error.

    For regression alarms: one false alarm anywhere is a false alarm. Empty gives empty.
    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    p = _checked(p_values)
    adjusted = [0.0] * len(p)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; rejecting those <= q holds the false discovery rate.

    For advisory lists, where a share of false entries is acceptable. Empty gives empty.
    Source: Benjamini & Hochberg 1995, Journal of the Royal Statistical Society B 57:289-300.
    """
    p = _checked(p_values)
    adjusted = [0.0] * len(p)
    running = 1.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__, reverse=True)):
        running = min(running, p[index] * len(p) / (len(p) - rank))
        adjusted[index] = running
    return adjusted
