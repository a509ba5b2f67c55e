"""Answers side by side: strengths from votes, and a shadow against the variant it copied.

A pair is two answers to the same prompt. The pairs of one unit are averaged first, for
they are not independent; all intervals hold at every look.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csgraph

from monitoring.inference import Moments, always_valid_mean, always_valid_share
from registry.records import Record

MIN_UNITS = 30  # before an asymptotic interval of the difference is shown


@dataclass(frozen=True)
class Pair:
    """One metric of two answers to the same prompt."""

    unit: str
    control: float
    other: float


class PairedReadOut(Record):
    """``other`` minus control over pairs; None while undefined.

    ``higher_share`` is how often the other's value is the higher one, a tie counting
    half, averaged by unit, with its always-valid interval.
    """

    metric: str
    other: str
    num_pairs: int
    num_units: int
    difference: float | None
    interval: tuple[float, float] | None
    higher_share: float | None
    higher_interval: tuple[float, float] | None


def read_pairs(
    metric: str,
    other: str,
    pairs: Iterable[Pair],
    *,
    num_expected: float = 1000,
    alpha: float = 0.05,
) -> PairedReadOut:
    """The paired difference and the share of higher values, by unit."""
    differences: dict[str, list[float]] = defaultdict(list)
    higher: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        gap = pair.other - pair.control
        differences[pair.unit].append(gap)
        higher[pair.unit].append(0.5 if gap == 0 else float(gap > 0))
    num_units = len(differences)
    interval = higher_interval = None
    moments: Moments | None = None
    shares = [statistics.fmean(one) for one in higher.values()]
    if num_units:
        moments = Moments.of_values([statistics.fmean(one) for one in differences.values()])
        higher_interval = always_valid_share(
            min(sum(shares), num_units), num_units, num_expected=num_expected, alpha=alpha
        )
        if num_units >= MIN_UNITS:
            interval = always_valid_mean(moments, num_expected=num_expected, alpha=alpha)
    return PairedReadOut(
        metric=metric,
        other=other,
        num_pairs=sum(map(len, differences.values())),
        num_units=num_units,
        difference=None if moments is None else moments.mean,
        interval=interval,
        higher_share=statistics.fmean(shares) if shares else None,
        higher_interval=higher_interval,
    )


def bradley_terry(wins: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Strength of each player in log-odds, centred on 0, from pairwise votes.

    ``wins[(a, b)]`` is how often a beat b; count a tie as half a win for both. Raises
    ValueError where the maximum likelihood does not exist: someone never won or never
    lost within a group of players. Source: Hunter 2004, Annals of Statistics 32:384-406.
    """
    players = sorted({player for pair in wins for player in pair})
    index = {player: position for position, player in enumerate(players)}
    table = np.zeros((len(players), len(players)))
    for (winner, loser), count in wins.items():
        table[index[winner], index[loser]] += count
    num_groups, _ = csgraph.connected_components(table > 0, connection="strong")
    if num_groups != 1:
        raise ValueError("the votes do not connect all players by a win and by a loss")
    met, won = table + table.T, table.sum(axis=1)
    strength = np.ones(len(players))
    for _ in range(10_000):
        new = won / (met / (strength[:, None] + strength[None, :])).sum(axis=1)
        new /= np.exp(np.log(new).mean())
        if np.abs(new - strength).max() < 1e-12:
            break
        strength = new
    return {player: float(value) for player, value in zip(players, np.log(new), strict=True)}
