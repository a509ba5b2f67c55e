"""How often the rules of experiments err, and how soon they act: seeded simulations.

    python -m monitoring.simulate_experiments [--json] [--experiments 2000]

Two arms; each look is a minute later and brings so many more units per arm. A unit makes
one or more requests that share its own error rate and speed, and some units give a thumb.
A/A: both arms are the same, the guardrails have a margin of 0, so that any stop is false.
Planted: the second arm does harm, and what counts is how many minutes it was allowed to.
The rules are those that the guardian and the read-out apply, as implemented.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.guardrails import Guardrail, judge_guardrail, split_alpha
from monitoring.inference import Moments, always_valid_difference, fixed_horizon_difference

SEED = 20260501
ALPHA = 0.05
LOOKS = 30
UNITS_PER_LOOK = 100
EXPECTED_UNITS = LOOKS * UNITS_PER_LOOK // 2
RAILS = (
    Guardrail(metric="errors", bounded=True, margin=0.0),
    Guardrail(metric="thumbs_down", bounded=True, margin=0.0),
    Guardrail(metric="ttft_ms", bounded=False, margin=0.0),
)
Floats = NDArray[np.float64]
# Looks of both arms by metric; each row is (number of units, sum, sum of squares) so far.
Looks = dict[str, tuple[list[Moments | None], list[Moments | None]]]


@dataclass(frozen=True)
class Arm:
    """One arm's units. Shares in [0, 1], times in milliseconds."""

    errors: float = 0.01
    thumbs_down: float = 0.2
    ttft_ms: float = 200.0


@dataclass(frozen=True)
class Found:
    """One row of the table. Minutes and units are of the stopped experiments, per arm."""

    rule: str
    data: str
    experiments: int
    stopped: float
    """Share of the experiments."""
    error: float
    """Standard error of ``stopped``."""
    median_minutes: float | None
    median_units: float | None
    promised: float | None
    """What ``stopped`` may be at most; None where stopping is right, or nothing is promised."""


BASE = Arm()
PLANTED = (
    ("errors 1% -> 5%", Arm(errors=0.05)),
    ("errors 1% -> 100%", Arm(errors=1.0)),
    ("thumbs down 20% -> 40%", Arm(thumbs_down=0.4)),
    ("TTFT 200 ms -> 260 ms", Arm(ttft_ms=260.0)),
)


def draw(rng: np.random.Generator, control: Arm, treated: Arm, *, looks: int, units: int) -> Looks:
    """Both arms' cumulative moments of every metric at every look."""
    arms = [_moments(rng, arm, looks, units) for arm in (control, treated)]
    return {metric: (arms[0][metric], arms[1][metric]) for metric in arms[0]}


def _moments(
    rng: np.random.Generator, arm: Arm, looks: int, units: int
) -> dict[str, list[Moments | None]]:
    n = looks * units
    requests = 1 + rng.poisson(2.0, n)
    # A unit's own rate: half of the units see twice as many errors as the others.
    rate = np.minimum(1.0, arm.errors * rng.choice([2 / 3, 4 / 3], n))
    rate = np.where(arm.errors == 1.0, 1.0, rate)
    errors = rng.binomial(requests, rate) / requests
    own = rng.normal(0.0, 0.3, n)
    noise = rng.normal(0.0, 0.3, n) / np.sqrt(requests)
    ttft = arm.ttft_ms * np.exp(own + noise)
    rated = rng.random(n) < 0.3
    down = (rng.random(n) < arm.thumbs_down).astype(float)
    every = np.ones(n, dtype=bool)
    return {
        "errors": _cumulative(errors, every, looks),
        "ttft_ms": _cumulative(ttft, every, looks),
        "thumbs_down": _cumulative(down, rated, looks),
    }


def _cumulative(values: Floats, seen: NDArray[np.bool_], looks: int) -> list[Moments | None]:
    kept = np.where(seen, values, 0.0).reshape(looks, -1)
    counts = seen.reshape(looks, -1).sum(axis=1).cumsum()
    totals, squares = kept.sum(axis=1).cumsum(), (kept**2).sum(axis=1).cumsum()
    return [
        Moments.of_sums(int(n), float(total), float(square)) if n else None
        for n, total, square in zip(counts, totals, squares, strict=True)
    ]


Stop = Callable[[Looks], int | None]


def by_guardian(seen: Looks) -> int | None:
    """The first look (from 0) at which a guardrail is breached, None where none ever is."""
    alpha = split_alpha(ALPHA, num_guardrails=len(RAILS), num_variants=1)
    firsts = []
    for rail in RAILS:
        for look, (control, treated) in enumerate(zip(*seen[rail.metric], strict=True)):
            found = judge_guardrail(
                rail, "b", treated, control, alpha=alpha, num_expected=EXPECTED_UNITS
            )
            if found.state == "breach":
                firsts.append(look)
                break
    return min(firsts, default=None)


def by_sequence(seen: Looks) -> int | None:
    """The first look at which the read-out's interval of thumbs down leaves 0 out."""
    for look, (control, treated) in enumerate(zip(*seen["thumbs_down"], strict=True)):
        if control is None or treated is None or min(control.n, treated.n) < 30:
            continue
        found = always_valid_difference(
            control, treated, num_expected=2 * 0.3 * EXPECTED_UNITS, alpha=ALPHA
        )
        if found is not None and (found.low > 0 or found.high < 0):
            return look
    return None


def by_naive_peeking(seen: Looks) -> int | None:
    """The first look at which Welch's p of thumbs down is below .05, as if it were the only."""
    for look, (control, treated) in enumerate(zip(*seen["thumbs_down"], strict=True)):
        if control is None or treated is None:
            continue
        found = fixed_horizon_difference(control, treated, alpha=ALPHA)
        if found is not None and found.p is not None and found.p < ALPHA:
            return look
    return None


def simulate(
    rules: dict[str, Stop],
    data: str,
    treated: Arm,
    *,
    experiments: int,
    seed: int,
    looks: int = LOOKS,
    units: int = UNITS_PER_LOOK,
    promised: float | None = None,
) -> Iterator[Found]:
    """Each rule on the same experiments."""
    rng = np.random.default_rng(seed)
    stops: dict[str, list[int]] = {rule: [] for rule in rules}
    for _ in range(experiments):
        seen = draw(rng, BASE, treated, looks=looks, units=units)
        for rule, stop in rules.items():
            look = stop(seen)
            if look is not None:
                stops[rule].append(look + 1)
    for rule, found in stops.items():
        share = len(found) / experiments
        minutes = float(statistics.median(found)) if found else None
        yield Found(
            rule=rule,
            data=data,
            experiments=experiments,
            stopped=share,
            error=math.sqrt(max(share, 1 / experiments) * (1 - share) / experiments),
            median_minutes=minutes,
            median_units=None if minutes is None else minutes * units,
            promised=None if rule == "naive peeking" else promised,
        )


def all_rows(experiments: int, *, seed: int = SEED) -> Iterator[Found]:
    """A/A with ``experiments``, each planted regression with a tenth of them."""
    rules: dict[str, Stop] = {
        "guardian": by_guardian,
        "read-out's sequence": by_sequence,
        "naive peeking": by_naive_peeking,
    }
    yield from simulate(rules, "A/A", BASE, experiments=experiments, seed=seed, promised=ALPHA)
    for number, (what, arm) in enumerate(PLANTED, start=1):
        yield from simulate(
            {"guardian": by_guardian},
            what,
            arm,
            experiments=max(experiments // 10, 1),
            seed=seed + number,
        )


def kept(row: Found) -> bool:
    """Whether a promise holds, but for three simulation errors."""
    return row.promised is None or row.stopped <= row.promised + 3 * row.error


def lines(rows: Iterator[Found] | list[Found]) -> Iterator[str]:
    """The table, row by row."""
    form = "{:<20} {:<24} {:>11} {:>17} {:>14} {:>15}"
    yield form.format("rule", "data", "experiments", "stopped", "median minutes", "units per arm")
    for row in rows:
        yield form.format(
            row.rule,
            row.data,
            row.experiments,
            f"{row.stopped:.4f} +-{row.error:.4f}",
            "-" if row.median_minutes is None else f"{row.median_minutes:g}",
            "-" if row.median_units is None else f"{row.median_units:g}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Error rates and delays of experiments' rules.")
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    rows: list[Found] = []

    def noted() -> Iterator[Found]:
        for row in all_rows(arguments.experiments, seed=arguments.seed):
            rows.append(row)
            yield row

    for line in lines(noted()):
        if not arguments.json:
            print(line, flush=True)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    for row in rows:
        if not kept(row):
            print(f"over {row.promised}: {row.rule}, {row.data}", file=sys.stderr)
    sys.exit(0 if all(map(kept, rows)) else 1)


if __name__ == "__main__":
    main()
