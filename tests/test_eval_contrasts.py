"""Differences between groups as the gate judges them: by hand, at their edges, in simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from eval.checks import Check, Measured
from eval.compare import Pair, own, paired
from eval.contrasts import contrast, judge_contrasts
from eval.early import look_early
from eval.gate import Entry, Policy, load_policy
from eval.plan import plan
from eval.policy import Assumed, Limit
from eval.policy_yaml import PolicyError
from eval.report import write_reports
from registry.evidence import Evidence, Item
from registry.verdict import Finding, Status
from tests.gate_cases import BASELINE, CANDIDATE, entry, evidence, only, policy, verdict


def items(values: dict[str, list[float | None]], cluster: str | None = None) -> tuple[Item, ...]:
    """One item for each value of each group; None is unscored."""
    return tuple(
        Item(
            key=f"{group}/{index}",
            content_hash=f"{group}/{index}",
            value=value,
            unscored="no room" if value is None else None,
            group=group,
            cluster=f"question-{index}" if cluster is None else cluster.format(index),
        )
        for group, list_of in values.items()
        for index, value in enumerate(list_of)
    )


def judged(values: dict[str, list[float | None]], limit: float, **rule: Any) -> Finding:
    one = entry("contrasts", limit=Limit(max=limit), **rule)
    return only(verdict(one, evidence(items(values), CANDIDATE)))


ROW = entry("contrasts", limit=Limit(max=0.1)).row


def test_a_hundred_questions_without_a_difference_show_a_limit_of_four_hundredths() -> None:
    # Tango without a discordant pair: z^2 / (n + z^2) = 3.8415 / 103.8415 = .03699
    finding = judged({"a": [0.0] * 100, "b": [0.0] * 100}, 0.04)
    assert finding.status is Status.PASS
    assert finding.limit_high == pytest.approx(0.03699, abs=5e-5)
    assert judged({"a": [0.0] * 100}, 0.036).status is Status.INCONCLUSIVE


def test_a_group_is_read_by_the_rule_of_matched_pairs() -> None:
    # R package PropCIs: 40 against 20 discordant of 160, 95% interval .030865 to .218064
    values: list[float | None] = [1.0] * 40 + [-1.0] * 20 + [0.0] * 100
    reading = contrast(ROW, items({"a": values}), alpha=0.025)
    assert reading.estimate == 0.125
    assert reading.low == pytest.approx(0.030865, abs=2e-3)
    assert reading.high == pytest.approx(0.218064, abs=2e-3)


def test_a_difference_counts_whichever_way_it_goes() -> None:
    better = judged({"a": [1.0] * 40 + [0.0] * 10}, 0.2)
    worse = judged({"a": [-1.0] * 40 + [0.0] * 10}, 0.2)
    assert better.status is worse.status is Status.FAIL
    assert better.candidate == worse.candidate == 0.8
    assert (better.limit_low, better.limit_high) == (worse.limit_low, worse.limit_high)


def test_one_group_beyond_the_limit_fails_whatever_the_others_are() -> None:
    finding = judged({"a": [0.0] * 100, "b": [-1.0] * 60 + [0.0] * 40, "c": [0.0] * 100}, 0.1)
    assert finding.status is Status.FAIL
    assert finding.reason.startswith("beyond 0.1 after Holm over 3 groups: b -0.6 [-0.6")
    assert finding.contrasts is not None
    assert [one.status for one in finding.contrasts] == ["PASS", "FAIL", "PASS"]


def test_holm_takes_further_groups_at_their_own_step() -> None:
    # 17 of 80: beyond .12 at alpha, not at alpha / 2 (its bound is .1288 and .1187 there).
    values = {"a": [1.0] * 80, "b": [1.0] * 17 + [0.0] * 63}
    alone = contrast(ROW, items({"b": values["b"]}), alpha=0.025)
    halved = contrast(ROW, items({"b": values["b"]}), alpha=0.0125)
    assert halved.low < 0.12 < alone.low
    both = judge_contrasts(ROW, items(values), 0.12, alpha=0.025, min_items=1)
    assert [one.status for one in both] == ["FAIL", "FAIL"]
    null = {"a": [0.0] * 80, "b": values["b"]}
    one = judge_contrasts(ROW, items(null), 0.12, alpha=0.025, min_items=1)
    assert [each.status for each in one] == ["PASS", "INCONCLUSIVE"]


def test_a_small_group_is_too_few_to_say_and_named() -> None:
    finding = judged({"a": [0.0] * 100, "b": [-1.0] * 9}, 0.1, min_items=50)
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason == ("b: too few to say: 9 scored questions, the policy asks for 50")


def test_an_unscored_question_counts_against_both_sides() -> None:
    whole = contrast(ROW, items({"a": [0.0] * 100}), alpha=0.025)
    lacking = contrast(ROW, items({"a": [0.0] * 97 + [None] * 3}), alpha=0.025)
    assert lacking.estimate == 0
    assert lacking.low == -lacking.high
    assert lacking.high > whole.high + 0.03
    finding = judged({"a": [0.0] * 97 + [None] * 3}, 0.1, max_unscored=2)
    assert finding.status is Status.INVALID
    assert judged({"a": [0.0] * 97 + [None] * 3}, 0.12, max_unscored=3).status is Status.PASS


def test_questions_of_one_template_are_one_cluster() -> None:
    single = items({"a": [1.0] * 15 + [0.0] * 85})
    shared = tuple(
        item.model_copy(update={"cluster": f"t{index // 5}"}) for index, item in enumerate(single)
    )
    apart, together = (contrast(ROW, each, alpha=0.025) for each in (single, shared))
    assert together.estimate == apart.estimate == 0.15
    assert together.high > apart.high
    assert "20 clusters" in together.method


def test_references_are_no_group() -> None:
    reference = Item(key="r", content_hash="r", value=0.0, cluster="question-0")
    one = entry("contrasts", limit=Limit(max=0.1))
    found = only(verdict(one, evidence((*items({"a": [0.0] * 100}), reference), CANDIDATE)))
    assert found.status is Status.PASS
    alone = only(verdict(one, evidence((reference,), CANDIDATE)))
    assert alone.status is Status.INVALID
    assert "no item has a group" in alone.reason


@pytest.mark.parametrize("value", [1.5, -1.01])
def test_a_value_beyond_a_difference_of_shares_is_invalid(value: float) -> None:
    finding = judged({"a": [value] + [0.0] * 50}, 0.1)
    assert finding.status is Status.INVALID
    assert "outside check's range" in finding.reason


def test_the_champions_difference_stands_beside_and_decides_nothing() -> None:
    one = entry("contrasts", limit=Limit(max=0.1))
    candidate = evidence(items({"a": [0.0] * 100}), CANDIDATE)
    champion = evidence(items({"a": [-1.0] * 50 + [0.0] * 50}), BASELINE)
    finding = only(verdict(one, candidate, champion))
    assert finding.status is Status.PASS
    assert (finding.baseline, finding.estimate, finding.margin) == (0.5, None, None)


def test_without_a_limit_it_is_watched_only() -> None:
    one = entry("contrasts", tier="watch", limit=None, margin=None)
    required = entry("binary", name="other")
    sides = {
        "check": evidence(items({"a": [1.0] * 30}), CANDIDATE),
        "other": evidence([1.0] * 200, CANDIDATE, check="other"),
    }
    others = {"other": evidence([1.0] * 200, BASELINE, check="other")}
    found = verdict(policy(one, required), sides, others)
    assert found.findings[0].status is Status.INCONCLUSIVE
    assert found.findings[0].label == "not judged"
    assert found.status is Status.PASS


def test_a_margin_is_refused_wherever_it_comes_from() -> None:
    found = judged({"a": [0.0] * 100}, 0.1, margin=0.1)
    assert found.status is Status.INVALID
    assert "judged by its limit alone" in found.reason
    with pytest.raises(ValueError, match="no change against a baseline"):
        paired(ROW, [Pair(0.0, 0.0, 1.0, "q")], alpha=0.025)


class Nothing(BaseModel):
    """A check without a configuration."""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"margin": 0.1}, "judged by its limit alone"),
        ({"limit": {"max": 0}}, "no interval lies within 0"),
        ({"limit": {"max": 2}}, "outside"),
        ({"limit": {"min": 0.1}}, "set max, not min"),
        ({"limit": {"max": 0.1}, "contamination": {"max_share": 0.1}}, "does not say what"),
    ],
)
def test_a_policy_that_makes_no_sense_of_it_is_refused(
    rule: dict[str, Any], said: str, tmp_path: Any
) -> None:
    row = Check(
        name="fairness", measure=lambda runner, config: Measured(()), config=Nothing,
        kind="contrasts", higher_is_better=False, unit="difference", bounds=(-1, 1), zero="none",
        source="test",
    )  # fmt: skip
    body = {"name": "x", "check": "fairness", "tier": "required", "min_items": 1}
    body |= {"reason": "r", "owner": "o", **rule}
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"schema_version": 1, "name": "p", "entries": [body]}))
    with pytest.raises(PolicyError, match=said):
        load_policy(path, (row,), lambda name: tmp_path)


class TwentyGroups(BaseModel):
    def num_items(self) -> int:
        return 80

    def num_groups(self) -> int:
        return 20


def planned(limit: float, n: int, **assumed: Any) -> Any:
    one = entry("contrasts", limit=Limit(max=limit), assumed=Assumed(**assumed))
    groups = Entry(one.rule, one.row, TwentyGroups())
    (row,) = plan(Policy(policy(groups).written, (groups,)), {"check": n}).rows
    return row


def test_planning_counts_the_questions_of_a_group_and_both_sides_of_all_groups() -> None:
    row = planned(0.1, 100, discordance=0.02)
    assert row.refused is None
    assert 0 < row.power < 1
    wide = planned(0.2, 100, discordance=0.02)
    assert wide.power > row.power
    # 80 equal answers cannot show less than 3.8415 / 83.8415 = .0458
    refused = planned(0.04, 80, discordance=0.02)
    assert "needs at least 93 questions" in refused.refused
    assert refused.power == 0


def test_an_early_look_leaves_contrasts_alone() -> None:
    def no_runner() -> Any:
        raise AssertionError("nothing may be measured early")

    one = entry("contrasts", limit=Limit(max=0.1))
    assert look_early(policy(one), no_runner, {"check": evidence([0.0], BASELINE)}) is None


def test_a_report_has_a_row_for_each_group(tmp_path: Any) -> None:
    one = entry("contrasts", limit=Limit(max=0.1), min_items=50)
    side: Evidence = evidence(
        items({"age: old": [-1.0] * 60 + [0.0] * 40, "age: young": [0.0] * 9}), CANDIDATE
    )
    found = verdict(one, side)
    paths = write_reports(found, {"check": side}, None, tmp_path)
    text = paths["report.md"].read_text()
    assert "| age: old | 100 | -0.6 | [-0.6" in text
    assert "| age: young | 9 | +0 |" in text
    assert "too few to say" in text
    assert "age: young" in paths["report.html"].read_text()
    assert "judged by its limit" in paths["forest.svg"].read_text()


def test_the_size_shown_is_that_of_the_furthest_group() -> None:
    side = items({"a": [0.1] * 20 + [0.0] * 20, "b": [-0.4] * 30 + [-0.3] * 10})
    reading = own(ROW, side, alpha=0.025)
    assert reading.estimate == pytest.approx(0.375)
    assert 0.3 < reading.low < 0.375 < reading.high


# Simulations: seeded, small here; docs/counterfactual-audit.md has the larger run.


def simulate(
    num: int, groups: int, rng: np.random.Generator, *, up: float, down: float, n: int = 80
) -> list[Status]:
    """Statuses of ``num`` audits in which the first group's answers differ so often."""
    statuses = []
    for _ in range(num):
        draws = rng.choice([1.0, -1.0, 0.0], size=n, p=[up, down, 1 - up - down])
        values = {"a": list(draws)} | {f"b{g}": [0.0] * n for g in range(groups - 1)}
        made = judge_contrasts(ROW, items(values), 0.1, alpha=0.025, min_items=1)
        failed = any(one.status is Status.FAIL for one in made)
        passed = all(one.status is Status.PASS for one in made)
        statuses.append(Status.FAIL if failed else Status.PASS if passed else Status.INCONCLUSIVE)
    return statuses


def test_a_group_exactly_at_the_limit_passes_in_one_of_forty_at_most() -> None:
    rng = np.random.default_rng(5)
    for up, down in ((0.1, 0.0), (0.15, 0.05)):
        statuses = simulate(400, 1, rng, up=up, down=down)
        # of 400 draws at .025, 19 or more have a chance of .007
        assert sum(s is Status.PASS for s in statuses) < 19
        assert sum(s is Status.FAIL for s in statuses) < 19


def test_a_difference_of_thirty_points_is_found_among_twenty_groups() -> None:
    statuses = simulate(60, 20, np.random.default_rng(6), up=0.0, down=0.4)
    assert sum(s is Status.FAIL for s in statuses) >= 48


def test_equal_treatment_with_a_few_chance_differences_passes() -> None:
    statuses = simulate(60, 1, np.random.default_rng(7), up=0.01, down=0.01)
    assert sum(s is Status.PASS for s in statuses) >= 48
