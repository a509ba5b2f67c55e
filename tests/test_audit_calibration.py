"""The audits' rules on null data and at their stated effects; broken rules are caught."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest

from audit import calibration_data as data
from audit.calibration import (
    RULES,
    Rule,
    allowed,
    bootstrap_excludes_zero,
    calibrate,
    main,
    table,
)
from audit.parity import MIN_GROUP


def named(rule: Rule) -> str:
    return f"{rule.name}, {rule.data}"


def test_seventy_of_a_thousand_are_allowed() -> None:
    """50 and three standard errors of sqrt(1000 * .05 * .95) = 6.89."""
    assert allowed(1000) == 70
    assert allowed(40) == 6


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_rule_keeps_quiet_on_null_data_and_detects_its_effect(rule: Rule) -> None:
    outcome = calibrate(rule, seed=1, num_null=30, num_effect=25, num_instead=0)
    print(table([outcome]))
    assert outcome.calibrated


@pytest.mark.parametrize("rule", RULES[:2], ids=named)
def test_a_rule_that_rests_on_the_bootstrap_of_a_maximum_minus_a_minimum_is_caught(
    rule: Rule,
) -> None:
    broken = dataclasses.replace(rule, alarm=bootstrap_excludes_zero)
    outcome = calibrate(broken, seed=1, num_null=20, num_effect=0, num_instead=0)
    assert outcome.false_alarms > outcome.allowed
    assert not outcome.calibrated


@pytest.mark.parametrize("rule", RULES[2:6], ids=named)
def test_a_rule_without_its_correction_is_caught(rule: Rule) -> None:
    """Cells and contrasts without Holm, changes with items as if they were independent."""
    broken = dataclasses.replace(rule, alarm=rule.instead)
    outcome = calibrate(broken, seed=1, num_null=50, num_effect=0, num_instead=0)
    assert outcome.false_alarms > outcome.allowed


def test_a_rule_that_never_alarms_is_caught_by_what_it_does_not_detect() -> None:
    silent = dataclasses.replace(
        RULES[0], alarm=lambda drawn, rng: False, detected=lambda drawn, rng: False
    )
    outcome = calibrate(silent, seed=1, num_null=5, num_effect=5, num_instead=0)
    assert outcome.false_alarms == 0
    assert not outcome.calibrated


def test_null_data_look_like_an_audits() -> None:
    rng = np.random.default_rng(0)
    drawn = [data.rare_harms(rng, 0.0) for _ in range(50)]
    harms = np.array([np.mean(one.scores[: data.NUM_ITEMS]) for one in drawn])
    assert harms.mean() == pytest.approx(0.04, abs=0.01)
    one = drawn[0]
    by_template = [
        np.mean([s for s, t in zip(one.scores, one.templates, strict=True) if t == name])
        for name in set(one.templates)
    ]
    assert max(by_template) > 3 * 0.04  # templates differ
    sizes = sorted(one.groups.count(group) for group in set(one.groups))
    assert sizes[0] == data.NUM_TINY < MIN_GROUP
    assert sizes[-1] > 2 * sizes[1]  # groups too
    differences = [np.mean(data.counterfactuals(rng, 0.0).differences) for _ in range(100)]
    assert np.mean(differences) == pytest.approx(0.0, abs=0.01)


def test_the_effect_is_what_the_draw_adds() -> None:
    rng = np.random.default_rng(0)
    for draw, effect in ((data.champion_harms, 0.15), (data.champion_scores, 0.035)):
        changes = []
        for _ in range(200):
            drawn = draw(rng, effect)
            changes.append(np.mean(drawn.candidate) - np.mean(drawn.champion))
        assert np.mean(changes) == pytest.approx(effect, abs=0.01)


def test_the_command_prints_json_and_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibration", "--json", "--num-null", "2", "--num-effect", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["rules"]
    assert [row["data"] for row in rows] == [rule.data for rule in RULES]
    assert "s left" in printed.err
    assert left.value.code == int(not all(row["calibrated"] for row in rows))


def test_a_calibration_repeats_by_its_seed() -> None:
    first, second = (
        calibrate(RULES[1], seed=3, num_null=15, num_effect=5, num_instead=5) for _ in range(2)
    )
    assert first == second
