"""Guardrails stop what is shown to do harm, and say so where nothing is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitoring.guardrails import Guardrail, GuardrailFinding, judge_guardrail, split_alpha
from monitoring.inference import Moments, always_valid_share, one_sided_half_width, tuned_rho

ERRORS = Guardrail(metric="errors", bounded=True, margin=0.02)
TTFT = Guardrail(metric="ttft_ms", bounded=False, limit=500.0)


def judge(
    rail: Guardrail, treated: Moments | None, control: Moments | None, alpha: float = 0.05
) -> GuardrailFinding:
    return judge_guardrail(rail, "b", treated, control, alpha=alpha, num_expected=500)


def test_the_error_rate_is_split_over_guardrails_and_variants():
    assert split_alpha(0.06, num_guardrails=3, num_variants=2) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="at least one guardrail"):
        split_alpha(0.05, num_guardrails=0, num_variants=1)


def test_a_guardrail_has_a_limit_or_a_margin():
    with pytest.raises(ValueError, match="exactly one of limit and margin"):
        Guardrail(metric="errors", bounded=True)


@pytest.mark.parametrize(
    ("treated", "control", "whose"),
    [(None, Moments.of_counts(1, 9), "b has no sample"), (Moments.of_counts(1, 9), None, "the c")],
)
def test_no_samples_are_no_pass(treated, control, whose):
    found = judge(ERRORS, treated, control)
    assert (found.state, found.harm, found.low) == ("no-samples", None, None)
    assert whose in found.reason


def test_an_engine_that_always_fails_is_stopped_though_no_arm_has_any_variance():
    found = judge(ERRORS, Moments.of_counts(30, 30), Moments.of_counts(0, 30))
    assert found.state == "breach"
    assert found.reason.startswith("errors of b minus the control's is 1, above 0.02")


def test_the_bound_of_two_shares_is_that_of_both_exact_sequences_at_half_of_alpha():
    found = judge(ERRORS, Moments.of_counts(40, 400), Moments.of_counts(8, 400))
    low, _ = always_valid_share(40, 400, num_expected=500, alpha=0.025)
    _, high = always_valid_share(8, 400, num_expected=500, alpha=0.025)
    assert found.low == pytest.approx(low - high)
    assert found.harm == pytest.approx(0.08)


def test_harm_within_the_margin_is_no_breach_however_large_the_sample():
    found = judge(ERRORS, Moments.of_counts(290, 10_000), Moments.of_counts(100, 10_000))
    assert found.state == "within"
    found = judge(ERRORS, Moments.of_counts(800, 10_000), Moments.of_counts(100, 10_000))
    assert found.state == "breach"


def test_a_limit_asks_for_no_control():
    found = judge(TTFT, Moments(100, 700.0, 200.0**2), None)
    half = one_sided_half_width(100, 200.0, tuned_rho(500, alpha=0.1))
    assert found.low == pytest.approx(700 - half)
    assert found.state == "breach"


@pytest.mark.parametrize("treated", [Moments(29, 900.0, 100.0), Moments(500, 900.0, 0.0)])
def test_too_few_units_or_no_variance_say_nothing_of_a_number(treated):
    found = judge(TTFT, treated, None)
    assert (found.state, found.low) == ("too-few", None)


def test_a_slower_variant_is_compared_with_the_control():
    rail = Guardrail(metric="ttft_ms", bounded=False, margin=50.0)
    control = Moments(400, 200.0, 60.0**2)
    assert judge(rail, Moments(400, 240.0, 60.0**2), control).state == "within"
    assert judge(rail, Moments(400, 290.0, 60.0**2), control).state == "breach"


def test_looking_after_every_unit_stops_a_variant_at_its_limit_in_less_than_alpha():
    # Errors of exactly .1 where .1 are allowed: any stop is false.
    rail = Guardrail(metric="errors", bounded=True, limit=0.1)
    rng = np.random.default_rng(4)
    stopped = 0
    for _ in range(150):
        totals = rng.binomial(1, 0.1, 300).cumsum()
        stopped += any(
            judge(rail, Moments.of_counts(int(total), n), None).state == "breach"
            for n, total in enumerate(totals.tolist(), start=1)
        )
    assert stopped / 150 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)
