"""A judge against people: agreement, error rates, and intervals corrected for them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.compare import own, pair_up, paired
from eval.judge_accuracy import (
    CalibrationRow,
    JudgeAccuracy,
    cohen_kappa,
    corrected_interval,
    measure_judge,
    render_accuracy,
)
from eval.rows import RowsError
from eval.spread import spread_of
from eval.stats import clopper_pearson, tango_interval
from registry.dataset import write_jsonl
from registry.verdict import Status
from tests.gate_cases import BASELINE, CANDIDATE, entry, evidence, items, only, verdict

REFERENCE = JudgeAccuracy(pass_pass=90, fail_pass=10, fail_fail=85, pass_fail=15)
SHARP = JudgeAccuracy(pass_pass=10**7, fail_pass=0, fail_fail=10**7, pass_fail=0)


@pytest.mark.parametrize(
    ("pair", "kappa"), [((1, 2), 0.85), ((1, 3), 0.88), ((2, 3), 0.86)]
)  # the README of PandaLM, to its two digits; recomputed: .852, .879, .862
def test_the_three_annotators_of_pandalm_agree_as_published(
    shared_data: Path, pair: tuple[int, int], kappa: float
) -> None:
    rows = json.loads((shared_data / "pandalm" / "testset-v1.json").read_text())
    one, other = ([row[f"annotator{k}"] for row in rows] for k in pair)
    assert len(rows) == 999
    found = cohen_kappa(one, other)
    assert found is not None
    recomputed = {(1, 2): 0.852, (1, 3): 0.879, (2, 3): 0.862}
    assert found == pytest.approx(recomputed[pair], abs=5e-4)
    assert round(found, 2) == kappa


def test_kappa_is_agreement_beyond_chance() -> None:
    # Cohen 1960's scheme by hand: 20 and 15 of 50 agreed, chance .5 * .6 + .5 * .4 = .5.
    counts = JudgeAccuracy(pass_pass=20, pass_fail=5, fail_pass=10, fail_fail=15)
    assert counts.kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert cohen_kappa("abab", "abab") == 1.0
    assert cohen_kappa("abab", "baba") == -1.0
    assert cohen_kappa("aaaa", "aaaa") is None  # chance alone agrees on all
    with pytest.raises(ValueError, match="got 0, 0"):
        cohen_kappa([], [])


def test_rates_come_from_counts_with_exact_intervals() -> None:
    found = REFERENCE.summary()
    assert (found["sensitivity"], found["specificity"]) == (0.9, 0.85)
    low, high = clopper_pearson(90, 100)
    assert (found["sensitivity_low"], found["sensitivity_high"]) == (low, high)
    assert (found["specificity_low"], found["specificity_high"]) == clopper_pearson(85, 100)


def test_the_corrected_rate_has_its_reference_value() -> None:
    # statistics.md, judges: p = .72 of 200 with these errors -> .76, SE .0533547.
    rate, se = REFERENCE.corrected(144, 200)
    assert (rate, se) == (pytest.approx(0.76), pytest.approx(0.0533547, abs=1e-7))


def test_one_class_missing_or_a_coin_corrects_nothing() -> None:
    assert JudgeAccuracy(pass_pass=5, fail_pass=1, pass_fail=0, fail_fail=0).unusable == (
        "people fail none of the 6 calibration items"
    )
    assert JudgeAccuracy(pass_pass=0, fail_pass=0, pass_fail=1, fail_fail=5).unusable == (
        "people pass none of the 6 calibration items"
    )
    coin = JudgeAccuracy(pass_pass=7, fail_pass=3, pass_fail=7, fail_fail=3)
    assert "no better than a coin: sensitivity 0.7 and specificity 0.3" in str(coin.unusable)
    with pytest.raises(ValueError, match="no better than a coin"):
        corrected_interval((0.5, 0.4, 0.6), coin, of="rate")
    assert REFERENCE.unusable is None


def test_a_judge_without_errors_changes_no_interval() -> None:
    raw = (0.7, 0.62, 0.77)
    assert corrected_interval(raw, SHARP, of="rate") == pytest.approx(raw, abs=1e-4)
    change = (-0.05, -0.12, 0.03)
    assert corrected_interval(change, SHARP, of="difference") == pytest.approx(change, abs=1e-4)


def test_with_many_calibration_items_the_interval_is_that_of_the_delta_method() -> None:
    many = JudgeAccuracy(pass_pass=90_000, fail_pass=10_000, fail_fail=85_000, pass_fail=15_000)
    z, se_p, p = 1.959964, 0.01, 0.72
    rate, low, high = corrected_interval((p, p - z * se_p, p + z * se_p), many, of="rate")
    theta, v0, v1 = 0.76, 0.85 * 0.15 / 1e5, 0.9 * 0.1 / 1e5
    se = (se_p**2 + (1 - theta) ** 2 * v0 + theta**2 * v1) ** 0.5 / 0.75
    assert (rate, low, high) == (
        pytest.approx(theta),
        pytest.approx(theta - z * se, abs=2e-4),
        pytest.approx(theta + z * se, abs=2e-4),
    )
    delta, d_low, d_high = corrected_interval((0.3, 0.3 - z * 0.02, 0.3 + z * 0.02), many,
                                              of="difference")  # fmt: skip
    se = (0.02**2 + 0.4**2 * (v0 + v1)) ** 0.5 / 0.75
    assert (delta, d_low, d_high) == (
        pytest.approx(0.4),
        pytest.approx(0.4 - z * se, abs=5e-4),
        pytest.approx(0.4 + z * se, abs=5e-4),
    )


def test_swapping_the_sides_mirrors_a_corrected_difference() -> None:
    estimate, low, high = corrected_interval((0.08, -0.01, 0.19), REFERENCE, of="difference")
    mirrored = corrected_interval((-0.08, -0.19, 0.01), REFERENCE, of="difference")
    assert mirrored == pytest.approx((-estimate, -high, -low))


def test_a_judge_that_may_be_a_coin_certifies_nothing() -> None:
    weak = JudgeAccuracy(pass_pass=6, fail_pass=4, fail_fail=6, pass_fail=4)
    _, low, high = corrected_interval((0.1, 0.02, 0.18), weak, of="difference")
    assert (low, high) == (-np.inf, np.inf)


# Seeded simulation of the rules as the gate runs them. With 2,000 repetitions the standard
# error of a coverage of .95 is .0049, so that .940 is two of them below.
REPETITIONS = 2000
LEAST = 0.95 - 2 * (0.95 * 0.05 / REPETITIONS) ** 0.5
tango = lru_cache(maxsize=None)(tango_interval)
exact_interval = lru_cache(maxsize=None)(clopper_pearson)


def calibrated(rng: np.random.Generator, q1: float, m1: int, q0: float, m0: int) -> JudgeAccuracy:
    right, caught = int(rng.binomial(m1, q1)), int(rng.binomial(m0, q0))
    return JudgeAccuracy(
        pass_pass=right, fail_pass=m1 - right, fail_fail=caught, pass_fail=m0 - caught
    )


@pytest.mark.parametrize(
    ("theta", "n", "q1", "m1", "q0", "m0"),
    [
        (0.76, 200, 0.90, 100, 0.85, 100),
        (0.90, 200, 0.95, 30, 0.90, 30),
        (0.80, 1000, 0.80, 30, 0.80, 30),  # what is known of the judge decides
        (0.05, 300, 0.90, 50, 0.97, 50),
    ],
)
def test_the_corrected_interval_of_a_rate_holds_the_true_one(
    theta: float, n: int, q1: float, m1: int, q0: float, m0: int
) -> None:
    rng = np.random.default_rng(7)
    covered = raw_covered = 0
    for _ in range(REPETITIONS):
        k = int(rng.binomial(n, theta * q1 + (1 - theta) * (1 - q0)))
        raw = exact_interval(k, n)
        judge = calibrated(rng, q1, m1, q0, m0)
        _, low, high = corrected_interval((k / n, *raw), judge, of="rate")
        covered += low <= theta <= high
        raw_covered += raw[0] <= theta <= raw[1]
    assert covered / REPETITIONS >= LEAST
    assert raw_covered / REPETITIONS < LEAST  # what the judge says is not what people say


@pytest.mark.parametrize(
    ("both", "lost", "won", "n", "q1", "m1", "q0", "m0"),
    [
        (0.65, 0.15, 0.10, 200, 0.90, 100, 0.85, 100),  # at a margin of .05
        (0.65, 0.12, 0.02, 300, 0.90, 30, 0.85, 30),
        (0.40, 0.25, 0.05, 400, 0.75, 50, 0.75, 50),
        (0.60, 0.10, 0.10, 200, 0.95, 30, 0.95, 30),  # no difference
    ],
)
def test_the_corrected_interval_of_a_difference_holds_the_true_one(
    both: float, lost: float, won: float, n: int, q1: float, m1: int, q0: float, m0: int
) -> None:
    rng = np.random.default_rng(8)
    says = {1: q1, 0: 1 - q0}  # chance that the judge passes what people pass, and fail
    true = won - lost
    covered = false_pass = 0
    for _ in range(REPETITIONS):
        counts = rng.multinomial(n, [both, won, lost, 1 - both - won - lost])
        b = c = 0
        for count, (mine, theirs) in zip(counts, [(1, 1), (1, 0), (0, 1), (0, 0)], strict=True):
            p, q = says[mine], says[theirs]
            cells = rng.multinomial(count, [p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)])
            c, b = c + int(cells[1]), b + int(cells[2])
        judge = calibrated(rng, q1, m1, q0, m0)
        raw = ((c - b) / n, *tango(b, c, n))
        _, low, high = corrected_interval(raw, judge, of="difference")
        covered += low <= true <= high
        false_pass += low > true  # PASS with a margin of exactly the true loss
    assert covered / REPETITIONS >= LEAST
    assert false_pass / REPETITIONS <= 0.025 + 2 * (0.025 * 0.975 / REPETITIONS) ** 0.5


def passes(num: int, n: int) -> list[float]:
    return [1.0] * num + [0.0] * (n - num)


def judged(values: list[float], weights: str, judge: JudgeAccuracy) -> Any:
    return evidence(values, weights).model_copy(
        update={"tables": {"judge": {"counts": judge.model_dump()}}}
    )


def test_the_gate_reads_a_judged_rate_as_people_would_give_it() -> None:
    found = only(
        verdict(
            entry("numeric", limit={"min": 0.6}),
            judged(passes(144, 200), CANDIDATE, REFERENCE),
        )
    )
    assert found.candidate == pytest.approx(0.76)
    _, low, high = corrected_interval((0.72, *clopper_pearson(144, 200)), REFERENCE, of="rate")
    assert (found.limit_low, found.limit_high) == (pytest.approx(low), pytest.approx(high))
    assert found.status is Status.PASS
    assert "corrected for a judge of sensitivity 0.9 (n=100)" in found.method


def test_a_margin_that_the_raw_passes_would_meet_is_not_met_once_corrected() -> None:
    # 30 lost and 22 won of 400: raw [-.055, .0145] lies above -.06; divided by J = .75, with
    # what is not known of the judge, it does not.
    candidate = [0.0] * 30 + [1.0] * 22 + passes(200, 348)
    champion = [1.0] * 30 + [0.0] * 22 + passes(200, 348)
    rule = entry("numeric", margin=0.06)
    raw = paired(rule.row, pair_up(rule.row, items(candidate), items(champion)), alpha=0.025)
    assert raw.low > -0.06
    found = only(
        verdict(
            rule, judged(candidate, CANDIDATE, REFERENCE), judged(champion, BASELINE, REFERENCE)
        )
    )
    assert found.status is Status.INCONCLUSIVE
    assert found.estimate == pytest.approx(-0.02 / 0.75)


def test_a_judge_no_better_than_a_coin_makes_the_entry_invalid() -> None:
    coin = JudgeAccuracy(pass_pass=5, fail_pass=5, fail_fail=5, pass_fail=5)
    found = only(
        verdict(entry("numeric", limit={"min": 0.1}), judged(passes(99, 100), CANDIDATE, coin))
    )
    assert found.status is Status.INVALID
    assert "no better than a coin" in found.reason


def test_scores_that_are_no_passes_cannot_be_corrected() -> None:
    found = only(
        verdict(entry("numeric", limit={"min": 0.1}), judged([0.5] * 50, CANDIDATE, REFERENCE))
    )
    assert found.status is Status.INVALID
    assert "is 0.5" in found.reason


def test_more_passes_than_the_judges_errors_can_explain_decide_nothing() -> None:
    rule = entry("numeric", limit={"min": 0.9})
    poor = JudgeAccuracy(pass_pass=600, fail_pass=400, fail_fail=900, pass_fail=100)
    reading = own(rule.row, items(passes(990, 1000)), alpha=0.025, judge=poor)
    assert reading.too_few is not None
    assert "calibrate it on such answers" in reading.too_few
    found = only(verdict(rule, judged(passes(990, 1000), CANDIDATE, poor)))
    assert found.status is Status.INCONCLUSIVE


def test_planning_takes_the_judges_errors_into_the_spread() -> None:
    rule = entry("numeric", margin=0.05)
    plain = spread_of(rule, evidence(passes(144, 200), BASELINE), None)
    corrected = spread_of(rule, judged(passes(144, 200), BASELINE, REFERENCE), None)
    assert plain.value == pytest.approx(0.72)
    assert corrected.value == pytest.approx(0.76)
    assert (corrected.value_sd or 0) > (plain.value_sd or 0) / 0.75


def test_a_calibration_file_is_counted_at_the_threshold(tmp_path: Path) -> None:
    rows = [(0.5, 1), (0.49, 1), (0.5, 0), (0.1, 0), (0.9, 0.5)]
    path = tmp_path / "c.jsonl"
    write_jsonl(
        path,
        [CalibrationRow(item=str(i), judge=j, human=h) for i, (j, h) in enumerate(rows)],
    )
    judge = measure_judge(path, threshold=0.5)
    assert judge == JudgeAccuracy(pass_pass=2, fail_pass=1, pass_fail=1, fail_fail=1)
    shown = render_accuracy(judge)
    assert "judge passes             2            1" in shown
    assert "sensitivity 0.667 [0.094, 0.992]" in shown  # Clopper-Pearson of 2 of 3
    path.write_text("\n")
    with pytest.raises(RowsError, match="has no rows"):
        measure_judge(path, threshold=0.5)
