"""The gate's rules keep their promise on simulated data, and people's rule does not."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from eval.compare import MIN_PAIRS
from eval.error_rates import (
    SCENARIOS,
    Scenario,
    enumerate_harm,
    enumerate_paired,
    simulate,
    simulate_early,
    within_promise,
    worst_paired,
)
from eval.stats import power_tango, tango_noninferiority_p


def test_tango_and_the_no_drop_rule_err_as_published() -> None:
    """Exact enumeration; values of statistics.md part A, n=164, discordance .06, margin .05."""
    rates = enumerate_paired(164, discordance=0.06, margin=0.05)
    assert rates.false_pass == pytest.approx(0.0152, abs=5e-5)
    assert rates.no_drop_rule == pytest.approx(0.290, abs=5e-4)


def test_no_significant_drop_passes_nearly_every_bad_model_of_fifty_items() -> None:
    """Value of statistics.md part A: .936 at n=50, discordance .10, margin .05."""
    rates = enumerate_paired(50, discordance=0.10, margin=0.05)
    assert rates.no_drop_rule == pytest.approx(0.936, abs=5e-4)
    assert rates.false_pass < 0.025


def test_tangos_power_is_that_of_the_planning_table() -> None:
    """n = 1963 at discordance .10 and margin .02 was planned for power .80 (simulated .7995)."""
    assert power_tango(1963, discordance=0.10, margin=0.02) == pytest.approx(0.7995, abs=5e-3)


def test_a_harm_budget_is_passed_wrongly_at_most_as_often_as_promised() -> None:
    """At most 3 harms in 300 leave the upper bound below .03, so the chance is Bin(300, .03)."""
    rates = enumerate_harm(300, 0.03)
    assert rates.false_pass == pytest.approx(0.0199, abs=5e-4)
    assert rates.power == 1


@pytest.mark.parametrize(
    "scenario",
    [s for s in SCENARIOS if not s.beyond and s.size in {"10 items", "6 clusters of 20"}],
    ids=lambda s: f"{s.rule}, {s.size}",
)
def test_rules_at_their_smallest_sizes_keep_the_promise(scenario: Scenario) -> None:
    rates = simulate(scenario, repetitions=400, seed=1)
    assert within_promise(rates)
    assert rates.no_drop_rule is not None
    assert rates.no_drop_rule > 0.5


def test_simulations_repeat_by_their_seed() -> None:
    scenario = SCENARIOS[0]
    assert simulate(scenario, repetitions=50, seed=3) == simulate(scenario, repetitions=50, seed=3)


def test_the_early_stop_errs_rarely_and_catches_a_clear_loss() -> None:
    rates = simulate_early(1000, margin=0.02, discordance=0.12, repetitions=300)
    assert within_promise(rates)
    assert rates.power > 0.98


def test_tangos_own_error_is_over_the_promise_where_most_items_change_sides() -> None:
    """Twenty items at margin .2: each outcome that passes, times its multinomial chance."""
    n, margin = MIN_PAIRS, 0.2
    errors = [
        sum(
            factorial(n) / (factorial(b) * factorial(c) * factorial(n - b - c))
            * q**c * (q + margin) ** b * (1 - margin - 2 * q) ** (n - b - c)
            for c in range(n + 1)
            for b in range(n + 1 - c)
            if tango_noninferiority_p(b, c, n, margin=margin) < 0.025
        )
        for q in np.linspace(0, 0.4 - 1e-9, 20)
    ]  # fmt: skip
    assert max(errors) > 0.027


@pytest.mark.parametrize(("n", "margin"), [(MIN_PAIRS, 0.2), (45, 0.1), (100, 0.15)])
def test_the_gates_rule_keeps_the_promise_at_every_discordance(n: int, margin: float) -> None:
    worst = worst_paired(n, margin=margin)
    assert worst.false_pass <= 0.025
    assert worst.false_pass > 0.02  # and it gives away little of what it may err
