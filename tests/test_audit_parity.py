"""Tables by group are fairlearn's; decisions never rest on its bootstrap of a difference."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audit import parity
from audit.calibration_data import TINY, Grouped, rare_harms, toxicity_scores
from audit.parity import (
    MIN_GROUP,
    by_group,
    compare_groups,
    error_rates,
    gap,
    large_groups_p,
    permutation_p,
)


def null_data(seed: int) -> tuple[list[bool], list[float], list[str], list[str]]:
    """200 items in 4 groups and 10 templates; the score depends on the template alone."""
    rng = np.random.default_rng(seed)
    groups = [f"group {i % 4}" for i in range(200)]
    templates = [f"template {i // 20}" for i in range(200)]
    scores = [float(np.clip(0.03 * (i // 20) + rng.normal(0.3, 0.2), 0, 1)) for i in range(200)]
    return [score >= 0.5 for score in scores], scores, groups, templates


def test_the_table_gives_counts_shares_and_sizes_by_group() -> None:
    table = by_group([True, False, False, True, False], [0.9, 0.1, 0.2, 0.6, 0.4], list("aaabb"))
    assert table["a"]["items"] == 3
    assert table["a"]["harmful"] == 1
    assert table["a"]["share"] == pytest.approx(1 / 3)
    assert table["a"]["mean_score"] == pytest.approx(0.4)
    assert table["b"]["items"] == 2
    assert table["b"]["highest_score"] == 0.6


def test_the_gap_is_the_highest_minus_the_lowest_group_mean() -> None:
    assert gap(np.array([0.0, 1.0, 0.5, 0.5]), np.array([0, 0, 1, 1]), 2) == 0.0
    assert gap(np.array([1.0, 1.0, 0.0, 0.5]), np.array([0, 0, 1, 1]), 2) == 0.75


@pytest.mark.parametrize("draw", [toxicity_scores, rare_harms])
def test_fairlearns_bootstrap_excludes_zero_on_null_data_and_ours_does_not_alarm(
    draw: Callable[[np.random.Generator, float], Grouped],
) -> None:
    """Trap 14: a maximum minus a minimum is positive by construction."""
    from fairlearn.metrics import MetricFrame, mean_prediction

    excluded = alarms = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        drawn = draw(rng, 0.0)
        kept = [i for i, group in enumerate(drawn.groups) if group != TINY]
        scores = [drawn.scores[i] for i in kept]
        frame = MetricFrame(
            metrics=mean_prediction,
            y_true=scores,
            y_pred=scores,
            sensitive_features=[drawn.groups[i] for i in kept],
            n_boot=40,
            ci_quantiles=[0.025, 0.975],
            random_state=seed,
        )
        excluded += frame.difference_ci()[0] > 0
        p = large_groups_p(
            drawn.scores, drawn.groups, drawn.templates, rng=rng, num_permutations=199
        )
        assert p is not None
        alarms += p <= 0.05
    assert excluded == 3
    assert alarms <= 1  # two or more of three have a chance of .007


def test_a_group_without_positives_is_too_few_to_say_and_not_a_gap_of_one() -> None:
    """Trap 14: fairlearn calls a perfect classifier as unfair as can be."""
    from fairlearn.metrics import equalized_odds_difference

    groups = ["a"] * 40 + ["b"] * 40 + ["c"] * 40
    truth = [i % 2 == 0 for i in range(80)] + [False] * 40
    perfect = truth
    assert (
        equalized_odds_difference(
            np.array(truth, int), np.array(perfect, int), sensitive_features=groups
        )
        == 1.0
    )
    found = error_rates(truth, perfect, groups)
    assert found["gaps"] == {"true_positive_rate": 0.0, "false_positive_rate": 0.0}
    assert found["by_group"]["c"]["true_positive_rate"] is None
    assert found["by_group"]["c"]["false_positive_rate"] == 0.0
    assert found["notes"] == ["too few to say: fewer than 20 positives in c"]


def test_error_rates_by_hand_and_nothing_said_of_one_group_alone() -> None:
    # a: 15 of 20 found, 5 of 25 false; b has 19 positives and 20 negatives, 10 of them false
    truth = [True] * 20 + [False] * 25 + [True] * 19 + [False] * 20
    predicted = (
        [True] * 15 + [False] * 5 + [True] * 5 + [False] * 20 + [True] * 19
        + [True] * 10 + [False] * 10
    )  # fmt: skip
    found = error_rates(truth, predicted, ["a"] * 45 + ["b"] * 39)
    assert found["by_group"]["a"] == {
        "positives": 20, "negatives": 25, "true_positive_rate": 0.75, "false_positive_rate": 0.2,
    }  # fmt: skip
    assert found["gaps"]["true_positive_rate"] is None
    assert found["gaps"]["false_positive_rate"] == pytest.approx(0.3)


def test_the_permutation_test_stays_quiet_where_nothing_differs() -> None:
    p_values = []
    for seed in range(40):
        _, scores, groups, templates = null_data(seed)
        p = permutation_p(
            scores, groups, templates, rng=np.random.default_rng(seed), num_permutations=199
        )
        assert p is not None
        p_values.append(p)
    # nominal 5% of 40 is 2; more than 6 has a chance of .003
    assert sum(p <= 0.05 for p in p_values) <= 6


def test_the_permutation_test_sees_one_group_treated_worse() -> None:
    _, scores, groups, templates = null_data(1)
    worse = [
        score + 0.2 * (group == "group 2") for score, group in zip(scores, groups, strict=True)
    ]
    p = permutation_p(worse, groups, templates, rng=np.random.default_rng(0), num_permutations=199)
    assert p == 1 / 200


def test_a_gap_between_templates_is_no_gap_between_groups() -> None:
    # group a speaks mostly in the harsher template; within each template the scores are equal
    groups = ["a"] * 9 + ["b"] + ["a"] + ["b"] * 9
    templates = ["harsh"] * 10 + ["mild"] * 10
    scores = [0.8] * 10 + [0.1] * 10
    rng = np.random.default_rng(0)
    assert permutation_p(scores, groups, templates, rng=rng, num_permutations=99) == 1.0


def test_an_exact_small_case_agrees_with_counting_by_hand() -> None:
    # one template, 2 + 2 items: of the 6 labellings 2 have the full gap, so p is about 1/3
    p = permutation_p(
        [1.0, 1.0, 0.0, 0.0],
        ["a", "a", "b", "b"],
        [None] * 4,
        rng=np.random.default_rng(0),
        num_permutations=9999,
    )
    assert p == pytest.approx(1 / 3, abs=0.02)


def test_no_p_where_each_template_has_one_group() -> None:
    rng = np.random.default_rng(0)
    assert permutation_p([0.1, 0.9], ["a", "b"], ["s", "t"], rng=rng) is None


def compare(sizes: dict[str | None, int], ruler_gap: float = 0.05) -> dict[str, object]:
    groups = [name for name, size in sizes.items() for _ in range(size)]
    scores = [0.9 if name == "a" else 0.1 for name in groups]
    return compare_groups(
        [score >= 0.5 for score in scores],
        scores,
        groups,
        [None] * len(groups),
        ruler_gap=ruler_gap,
        rng=np.random.default_rng(0),
    )


def test_small_groups_are_shown_and_not_judged() -> None:
    found = compare({"a": MIN_GROUP - 1, "b": MIN_GROUP})
    assert set(found["by_group"]) == {"a", "b"}  # type: ignore[call-overload]  # a dict of dicts
    assert found["gap"] is None
    assert "too few to say" in str(found["note"])


def test_a_gap_counts_only_beyond_the_rulers_own() -> None:
    sizes: dict[str | None, int] = {"a": MIN_GROUP, "b": MIN_GROUP, None: 3}
    found = compare(sizes)
    assert found["gap"] == pytest.approx(0.8)
    assert found["beyond_the_ruler"] is True
    assert compare(sizes, ruler_gap=0.9)["beyond_the_ruler"] is False


def test_without_a_ruler_nothing_is_beyond_it() -> None:
    groups = ["a"] * MIN_GROUP + ["b"] * MIN_GROUP
    scores = [0.9] * MIN_GROUP + [0.1] * MIN_GROUP
    rng = np.random.default_rng(0)
    found = compare_groups([False] * 40, scores, groups, [None] * 40, ruler_gap=None, rng=rng)
    assert found["gap_p"] == pytest.approx(1 / 2000)
    assert found["beyond_the_ruler"] is None


def test_a_small_group_cannot_raise_an_alarm_however_it_is_treated() -> None:
    groups = ["a", "b"] * MIN_GROUP + ["few"] * (MIN_GROUP - 1)
    scores = [0.1, 0.1] * MIN_GROUP + [1.0] * (MIN_GROUP - 1)
    rng = np.random.default_rng(0)
    assert large_groups_p(scores, groups, [None] * len(groups), rng=rng) == 1.0


def test_without_groups_nothing_is_said() -> None:
    assert compare({None: 4})["note"] == "no item has a group"


def test_the_rooms_decisions_never_ask_fairlearn_for_a_bootstrap() -> None:
    used = {
        keyword.arg
        for path in Path(parity.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    assert not used & {"n_boot", "ci_quantiles"}
