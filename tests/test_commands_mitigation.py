"""The experiment of docs/mitigation.md: its data, its policy and its table."""

from __future__ import annotations

from pathlib import Path

from commands import mitigation
from commands.policies import open_policy
from commands.session import Session
from registry.dataset import read_dataset
from tests.gate_cases import HALF, entry, verdict


def test_its_policy_can_be_judged_by_and_its_tweets_are_in_the_training_texts_alone(
    tmp_path: Path, shared_data: Path
) -> None:
    session = Session.open(tmp_path / "home", None)
    texts = mitigation.make_datasets(session, shared_data)
    rows = {name: file.rows for name, file in read_dataset(texts).files.items()}
    assert rows["train.jsonl"] == mitigation.BOOK_PIECES + mitigation.TWEETS
    assert rows["validation.jsonl"] + rows["test.jsonl"] == mitigation.HELD_OUT_PIECES
    assert "tweet-" not in (texts / "test.jsonl").read_text()
    policy = open_policy(session, str(mitigation.write_policy(session, shared_data)))
    assert {entry.name: entry.rule.tier for entry in policy.entries} == {
        "books": "required",
        "toxicity": "required",
        "gender_pairs": "advisory",
    }


def test_its_table_shows_a_difference_with_interval_margin_and_size() -> None:
    found = verdict(entry(name="check", margin=0.05), HALF, HALF)
    lines = mitigation.table_of("mitigated against plain", found).splitlines()
    assert lines[0] == f"**mitigated against plain: {found.status}**"
    assert lines[-1].startswith("| check | required |")
    assert lines[-1].endswith("| 0.0500 | 200 |")
