"""The simulations apply the rules as implemented; `make bench-experiments` prints all rows."""

from __future__ import annotations

import numpy as np

from monitoring.simulate_experiments import (
    ALPHA,
    BASE,
    LOOKS,
    SEED,
    Arm,
    Found,
    all_rows,
    by_guardian,
    by_naive_peeking,
    by_sequence,
    draw,
    kept,
    simulate,
)

RULES = {
    "guardian": by_guardian,
    "read-out's sequence": by_sequence,
    "naive peeking": by_naive_peeking,
}


def test_two_thousand_alike_experiments_with_thirty_looks_are_stopped_in_at_most_five_percent():
    rows = simulate(RULES, "A/A", BASE, experiments=2000, seed=SEED, promised=ALPHA)
    found = {row.rule: row for row in rows}
    assert LOOKS == 30
    assert found["guardian"].stopped <= 0.05
    assert found["read-out's sequence"].stopped <= 0.05
    assert found["naive peeking"].stopped > 0.2


def test_an_engine_that_always_fails_is_stopped_at_the_first_look():
    [found] = simulate({"guardian": by_guardian}, "broken", Arm(errors=1.0), experiments=5, seed=2)
    assert (found.stopped, found.median_minutes, found.median_units) == (1.0, 1.0, 100.0)


def test_five_in_a_hundred_errors_instead_of_one_are_stopped_within_the_half_hour():
    [found] = simulate({"guardian": by_guardian}, "bad", Arm(errors=0.05), experiments=20, seed=3)
    assert found.stopped >= 0.9
    assert found.median_minutes is not None
    assert found.median_minutes < LOOKS


def test_the_same_seed_gives_the_same_table():
    assert list(all_rows(10, seed=5)) == list(all_rows(10, seed=5))


def test_moments_of_a_look_hold_all_units_so_far():
    seen = draw(np.random.default_rng(6), BASE, BASE, looks=3, units=50)
    control, treated = seen["errors"]
    assert [one.n for one in control if one] == [50, 100, 150]
    assert [one.n for one in treated if one] == [50, 100, 150]


def test_a_promise_is_broken_beyond_three_simulation_errors():
    row = Found("guardian", "A/A", 2000, 0.08, 0.006, None, None, ALPHA)
    assert not kept(row)
    assert kept(Found("guardian", "A/A", 2000, 0.06, 0.006, None, None, ALPHA))
    assert kept(Found("guardian", "planted", 200, 1.0, 0.0, 3.0, 300.0, None))
