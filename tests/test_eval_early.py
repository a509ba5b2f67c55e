"""A candidate that has already lost is stopped; one that has not is measured to its end, once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eval.checks import CHECKS
from eval.early import early_verdict, look_early
from eval.gate import Policy, load_policy
from eval.resume import LocalPool, ResumableRunner
from eval.runner import FAKE_FACTS, FakeRunner
from registry.evidence import Evidence, now
from registry.verdict import Status

ENTRY = """
  - name: {name}
    check: benchmark
    config: {{data: items.jsonl, kind: multiple_choice}}
    tier: {tier}
    {rule}
    min_items: 40
    reason: a test
    owner: tests
"""


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return policy_of(tmp_path, ENTRY.format(name="choices", tier="required", rule="margin: 0.05"))


def policy_of(folder: Path, *entries: str, clusters: int | None = None) -> Policy:
    rows = [
        {
            "id": f"item-{n}",
            "context": f"Question {n}:",
            "choices": ["yes", "no"],
            "gold": 0,
            "cluster": None if clusters is None else f"cluster-{n % clusters}",
        }
        for n in range(400)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "policy.yaml"
    path.write_text("name: early\nentries:" + "".join(entries))
    return load_policy(path, CHECKS, lambda reference: Path(reference))


def answering(share_wrong: float) -> FakeRunner:
    """Wrong on the first so many of every hundred questions."""

    def score(context: str, continuation: str) -> float:
        number = int(context.removeprefix("Question ").removesuffix(":"))
        wrong = number % 100 < 100 * share_wrong
        return -1.0 if (continuation.strip() == "no") == wrong else -2.0

    return FakeRunner(score=score)


def measured(policy: Policy, runner: FakeRunner) -> dict[str, Evidence]:
    return {
        entry.name: Evidence(
            check=entry.check, config={}, config_digest="sha256:c", facts=FAKE_FACTS,
            items=entry.row.measure(runner, entry.config).items, seconds=0.0, created_at=now(),
        )
        for entry in policy.entries
    }  # fmt: skip


@dataclass
class Counting(LocalPool):
    """Counts the requests that reach the model."""

    inner: FakeRunner
    asked: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.inner)

    def run(self, method: Any, shards: Any, sampling: Any) -> Any:
        self.asked += [request for shard in shards for request in shard]
        return super().run(method, shards, sampling)


def test_a_candidate_that_gets_all_wrong_is_stopped_after_an_eighth(policy: Policy) -> None:
    lost = look_early(policy, lambda: answering(1.0), measured(policy, answering(0.1)))
    assert lost is not None
    assert (lost.entry, lost.looked_at, lost.of) == ("choices", 50, 400)
    assert lost.evidence >= lost.needed == 40
    assert lost.change < -0.7


def test_an_equal_candidate_is_never_stopped_and_no_item_is_asked_twice(
    policy: Policy, tmp_path: Path
) -> None:
    pool = Counting(answering(0.1))
    runner = ResumableRunner(pool, tmp_path / "journal")
    assert look_early(policy, lambda: runner, measured(policy, answering(0.1))) is None
    assert len(pool.asked) == 2 * 200  # two choices of half the items
    [entry] = policy.entries
    entry.row.measure(runner, entry.config)
    assert len(pool.asked) == len(set(pool.asked)) == 2 * 400


def test_a_loss_within_the_margin_is_not_stopped(policy: Policy) -> None:
    assert look_early(policy, lambda: answering(0.12), measured(policy, answering(0.1))) is None


def test_clusters_are_looked_at_whole(tmp_path: Path) -> None:
    rule = ENTRY.format(name="choices", tier="required", rule="margin: 0.05")
    policy = policy_of(tmp_path, rule, clusters=50)
    lost = look_early(policy, lambda: answering(1.0), measured(policy, answering(0.0)))
    assert lost is not None
    assert lost.looked_at % 8 == 0


@pytest.mark.parametrize(
    ("tier", "rule"), [("advisory", "margin: 0.05"), ("required", "limit: {min: 0.2}")]
)
def test_only_required_margins_stop_a_gate(tmp_path: Path, tier: str, rule: str) -> None:
    policy = policy_of(tmp_path, ENTRY.format(name="choices", tier=tier, rule=rule))
    assert look_early(policy, lambda: answering(1.0), measured(policy, answering(0.1))) is None


def test_what_is_measured_already_is_not_looked_at(policy: Policy) -> None:
    baseline = measured(policy, answering(0.1))
    assert look_early(policy, lambda: answering(1.0), baseline, skip=lambda entry: True) is None


def test_the_verdict_of_an_early_loss_fails_and_names_it(policy: Policy) -> None:
    baseline = measured(policy, answering(0.1))
    lost = look_early(policy, lambda: answering(1.0), baseline)
    assert lost is not None
    verdict = early_verdict(
        policy, lost, baseline, candidate_digest="sha256:a", baseline_digest="sha256:b",
        against="champion", now=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    assert verdict.status is Status.FAIL
    assert verdict.exit_code == 1
    assert verdict.reasons[0].startswith("choices: FAIL: lost early: after 50 of 400 items")
    assert list(verdict.evidence_digests) == ["baseline/choices"]
