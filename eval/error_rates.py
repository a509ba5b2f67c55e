"""How often the gate's rules err: seeded simulations of the rules as implemented.

    python -m eval.error_rates [--json] [--repetitions 4000]

For each rule at the smallest size it accepts, and at a usual one: how often it passes a
candidate that is worse by exactly the margin (false PASS, at most .025 is promised), how
often it passes an equal one (power), and what the rule that people use instead ("no
significant drop means pass") does with the bad one. Rows marked as beyond break an
assumption of the rule on purpose: they say how wrong it then goes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from eval.checks import Check, Kind, Measured
from eval.compare import MIN_PAIRS, Pair, paired
from eval.stats import clopper_pearson, mcnemar_exact, paired_score_interval, smallest_margin
from eval.stats_planning import least_wins
from eval.stats_sequential import loss_e_process

ALPHA = 0.025
SEED = 20260101
RULE = "Tango, held to .025"
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, float], Sequence[Pair]]


@dataclass(frozen=True)
class Scenario:
    """A rule on data of one kind; ``draw`` takes the true loss (candidate worse, >= 0)."""

    rule: str
    size: str
    data: str
    margin: float
    kind: Kind
    draw: Draw
    beyond: bool = False
    """Whether the data break what the rule assumes."""


@dataclass(frozen=True)
class Rates:
    rule: str
    size: str
    data: str
    margin: float
    beyond: bool
    repetitions: int | None
    """None where every outcome was enumerated."""
    false_pass: float
    error: float
    """Standard error of ``false_pass``."""
    power: float | None
    no_drop_rule: float | None
    """False PASS of "not significantly worse at .05 means pass" on the same data."""


def _check(kind: Kind) -> Check:
    from pydantic import BaseModel

    return Check(
        name="simulated",
        measure=lambda runner, config: Measured(()),
        config=BaseModel,
        kind=kind,
        higher_is_better=kind != "bits_per_byte",
        unit="",
        bounds=(0.0, None) if kind == "bits_per_byte" else (0.0, 1.0),
        zero="",
        source="",
    )


def _pairs(differences: Floats, clusters: Sequence[object] | None = None) -> list[Pair]:
    """Pairs with these candidate minus baseline differences in [-1, 1], weight 1."""
    names = range(len(differences)) if clusters is None else clusters
    return [
        Pair(max(d, 0.0), max(-d, 0.0), 1.0, str(name))
        for d, name in zip(differences.tolist(), names, strict=True)
    ]


def _answers(n: int) -> Draw:
    """Scores of answers: four in five the same on both sides, the others moved either way."""

    def draw(rng: np.random.Generator, loss: float) -> list[Pair]:
        moved = rng.random(n) < 0.2
        size = rng.beta(2, 2, n) * np.where(rng.random(n) < 0.5, 1, -1)
        return _pairs(np.round(np.clip(moved * size - loss, -1, 1), 6))

    return draw


def _clustered(num_clusters: int, cluster_size: int, icc: float) -> Draw:
    """0/1 items whose differences share a part by cluster: intra-class correlation ``icc``."""

    def draw(rng: np.random.Generator, loss: float) -> list[Pair]:
        shared = rng.normal(0, math.sqrt(icc), (num_clusters, 1))
        own = rng.normal(0, math.sqrt(1 - icc), (num_clusters, cluster_size))
        d = np.round(np.clip(0.1 * (shared + own), -0.9, 0.9) - loss, 6)
        clusters = np.repeat(np.arange(num_clusters), cluster_size)
        return _pairs(d.ravel(), [str(c) for c in clusters])

    return draw


def _documents(n: int, spread: float, *, skewed: bool = False) -> Draw:
    """Documents of lognormal length; what a byte costs more varies by document by .1 bits."""

    def draw(rng: np.random.Generator, loss: float) -> list[Pair]:
        sizes = np.ceil(np.exp(rng.normal(7, spread, n)))
        noise = rng.exponential(1, n) - 1 if skewed else rng.normal(0, 1, n)
        extra = (loss + 0.1 * noise) * sizes
        # Oriented as eval.compare does: minus the bits, so that higher is better.
        return [
            Pair(-(size + more), -size, size, str(i))
            for i, (size, more) in enumerate(zip(sizes.tolist(), extra.tolist(), strict=True))
        ]

    return draw


SCENARIOS = (
    Scenario("paired t", "10 items", "answer scores", 0.05, "numeric", _answers(10)),
    Scenario("paired t", "300 items", "answer scores", 0.05, "numeric", _answers(300)),
    Scenario("sign-flip by cluster", "6 clusters of 20", "ICC .1", 0.02, "numeric",
             _clustered(6, 20, 0.1)),
    Scenario("cluster-t (CR1)", "10 clusters of 40", "ICC .1", 0.02, "numeric",
             _clustered(10, 40, 0.1)),
    Scenario("cluster-t (CR1)", "50 clusters of 6", "ICC .3", 0.02, "numeric",
             _clustered(50, 6, 0.3)),
    Scenario("jackknife", "1,000 documents", "lengths lognormal(.4)", 0.02, "bits_per_byte",
             _documents(1000, 0.4)),
    Scenario("jackknife", "1,000 documents", "lengths lognormal(1)", 0.02, "bits_per_byte",
             _documents(1000, 1.0)),
    Scenario("jackknife, widened", "200 documents", "lengths lognormal(1)", 0.03,
             "bits_per_byte", _documents(200, 1.0)),
    Scenario("jackknife, widened", "30 documents", "lengths lognormal(1)", 0.1,
             "bits_per_byte", _documents(30, 1.0)),
    Scenario("jackknife", "1,000 documents", "the same, losses skewed", 0.02,
             "bits_per_byte", _documents(1000, 1.0, skewed=True), beyond=True),
    Scenario("jackknife, widened", "200 documents", "the same, losses skewed", 0.03,
             "bits_per_byte", _documents(200, 1.0, skewed=True), beyond=True),
)  # fmt: skip


def simulate(scenario: Scenario, *, repetitions: int, seed: int) -> Rates:
    """Draw, apply the gate's rule, count."""
    check = _check(scenario.kind)

    def passes(loss: float, rng: np.random.Generator) -> tuple[int, int]:
        by_rule = by_no_drop = 0
        for _ in range(repetitions):
            reading = paired(check, scenario.draw(rng, loss), alpha=ALPHA)
            by_rule += reading.too_few is None and reading.low > -scenario.margin
            by_no_drop += reading.high >= 0
        return by_rule, by_no_drop

    rng = np.random.default_rng(seed)
    bad, no_drop = passes(scenario.margin, rng)
    good, _ = passes(0.0, rng)
    rate = bad / repetitions
    return Rates(
        scenario.rule, scenario.size, scenario.data, scenario.margin, scenario.beyond,
        repetitions, rate, _error(rate, repetitions), good / repetitions, no_drop / repetitions,
    )  # fmt: skip


def _error(rate: float, n: int) -> float:
    return math.sqrt(max(rate, 1 / n) * (1 - rate) / n)


def fewest_wins(moved: int, n: int, margin: float) -> int:
    """Least c with which ``moved`` discordant pairs of ``n`` pass; moved + 1 where none does.

    The search begins where Tango's own test passes: the gate's interval never passes more.
    """
    won = least_wins(moved, n, margin, ALPHA)
    while won <= moved and paired_score_interval(moved - won, won, n)[0] <= -margin:
        won += 1
    return won


def enumerate_paired(n: int, *, discordance: float, margin: float) -> Rates:
    """Exact: every (lost, won) of a multinomial with ``n`` items."""
    low, high = (int(k) for k in binom.ppf([1e-12, 1 - 1e-12], n, discordance))
    moved = np.arange(low, high + 1)

    def rate(difference: float, fewest: Sequence[int]) -> float:
        won = (1 + difference / discordance) / 2
        chances = binom.sf(np.array(fewest) - 1, moved, won)
        return float((binom.pmf(moved, n, discordance) * chances).sum())

    def no_drop(m: int) -> int:
        return next(c for c in range(m + 1) if 2 * c >= m or mcnemar_exact(m - c, c) > 0.05)

    by_rule = [fewest_wins(m, n, margin) for m in moved.tolist()]
    return Rates(
        RULE, f"{n} items", f"discordance {discordance:g}", margin, False, None,
        rate(-margin, by_rule), 0.0, rate(0.0, by_rule),
        rate(-margin, [no_drop(m) for m in moved.tolist()]),
    )  # fmt: skip


def worst_paired(n: int, *, margin: float) -> Rates:
    """Exact: the discordance at which a loss of exactly ``margin`` passes most often."""
    moved = np.arange(n + 1)
    fewest = np.array([fewest_wins(m, n, margin) for m in moved.tolist()])
    found = {
        float(q): float(
            (binom.pmf(moved, n, q) * binom.sf(fewest - 1, moved, (1 - margin / q) / 2)).sum()
        )
        for q in np.linspace(margin, 1, 200)
    }
    worst = max(found, key=found.__getitem__)
    return Rates(
        RULE, f"{n} items", f"worst: discordance {worst:.2f}", margin, False, None,
        found[worst], 0.0, None, None,
    )  # fmt: skip


def enumerate_harm(n: int, budget: float) -> Rates:
    """Exact: Clopper-Pearson's upper bound against a budget; "equal" means no harm at all."""
    most = max((k for k in range(n + 1) if clopper_pearson(k, n)[1] <= budget), default=-1)
    rate = float(binom.cdf(most, n, budget)) if most >= 0 else 0.0
    return Rates(
        "Clopper-Pearson budget", f"{n} items", f"budget {budget:g}", budget, False, None,
        rate, 0.0, float(most >= 0), None,
    )  # fmt: skip


def simulate_early(n: int, *, margin: float, discordance: float, repetitions: int) -> Rates:
    """The early FAIL: its false_pass column is false FAIL of a candidate exactly at the margin.

    ``power`` is how often a candidate eight points worse is stopped.
    """
    rng = np.random.default_rng(SEED)

    def stopped(difference: float) -> float:
        lost, won = (discordance - difference) / 2, (discordance + difference) / 2
        hits = 0
        for _ in range(repetitions):
            u = rng.random(n)
            d = np.where(u < lost, -1.0, np.where(u < lost + won, 1.0, 0.0))
            hits += bool(loss_e_process(d.tolist(), margin=margin).max() >= 1 / ALPHA)
        return hits / repetitions

    at_margin = stopped(-margin)
    return Rates(
        "early FAIL (e-process)", f"{n} items, any look", f"discordance {discordance:g}", margin,
        False, repetitions, at_margin, _error(at_margin, repetitions), stopped(-0.08), None,
    )  # fmt: skip


def all_rates(repetitions: int) -> Iterator[Rates]:
    for n, discordance, margin in ((50, 0.1, 0.1), (164, 0.06, 0.05), (500, 0.1, 0.05)):
        assert margin > smallest_margin(n)
        yield enumerate_paired(n, discordance=discordance, margin=margin)
    for n, margin in ((MIN_PAIRS, 0.2), (100, 0.1), (100, 0.15), (200, 0.05)):
        yield worst_paired(n, margin=margin)
    yield enumerate_harm(300, 0.03)
    for index, scenario in enumerate(SCENARIOS):
        yield simulate(scenario, repetitions=repetitions, seed=SEED + index)
    yield simulate_early(1000, margin=0.02, discordance=0.12, repetitions=repetitions)


def within_promise(rates: Rates) -> bool:
    """Whether false PASS stays at .025 but for three simulation errors."""
    return rates.false_pass <= ALPHA + 3 * rates.error


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measured error rates of the gate's rules (false PASS, power)."
    )
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    found: list[Rates] = []
    header = ("rule", "size", "data", "margin", "false PASS", "equal passes", "no-drop rule")
    line = "{:<23} {:<22} {:<24} {:>6} {:>15} {:>12} {:>12}"
    if not arguments.json:
        print(line.format(*header))
    for rates in all_rates(arguments.repetitions):
        found.append(rates)
        if not arguments.json:
            error = f" +-{rates.error:.4f}" if rates.repetitions else " exact"
            print(
                line.format(
                    rates.rule, rates.size, rates.data, f"{rates.margin:g}",
                    f"{rates.false_pass:.4f}{error}",
                    "-" if rates.power is None else f"{rates.power:.3f}",
                    "-" if rates.no_drop_rule is None else f"{rates.no_drop_rule:.3f}",
                ) + (" beyond" if rates.beyond else ""),
                flush=True,
            )  # fmt: skip
    if arguments.json:
        print(json.dumps([rates.__dict__ for rates in found], indent=1))
    broken = [rates for rates in found if not rates.beyond and not within_promise(rates)]
    for rates in broken:
        print(f"over .025: {rates.rule}, {rates.size}, {rates.data}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
