"""Planted regressions: what is planted, and that a blind policy is told so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.selftest import run_selftest
from commands.session import Session
from eval import selftest
from eval.runner import Sampling, open_runner
from registry.checkpoint import read_manifest
from registry.conversation import Message
from registry.verdict import Status
from tests.measuring import write_rows


def policy_file(folder: Path) -> Path:
    """Sees log-likelihoods only, so no answer that is cut short."""
    write_rows(folder)
    path = folder / "policy.yaml"
    path.write_text(
        """
name: blind
entries:
  - name: pairs
    check: benchmark
    config: {data: pairs.jsonl, kind: minimal_pairs}
    tier: required
    margin: 0.2
    min_items: 40
    reason: a test
    owner: tests
  - name: bits
    check: bits_per_byte
    config: {data: documents.jsonl}
    tier: advisory
    margin: 0.1
    min_items: 10
    reason: a test
    owner: tests
"""
    )
    return path


@pytest.fixture
def session(tmp_path: Path, make_tiny_checkpoint: Callable[..., Path]) -> Session:
    opened = Session.open(tmp_path / "home", None)
    folder = make_tiny_checkpoint("champion")
    opened.checkpoint(str(folder))
    digest = read_manifest(folder).weights_digest
    opened.ledger.set_alias("champion", digest, by="tests", reason="")
    return opened


def test_the_gate_refuses_what_it_can_see_and_a_blind_spot_is_reported(
    session: Session, tmp_path: Path
) -> None:
    policy = policy_file(tmp_path / "policies")
    found = {one.plant: one for one in run_selftest(session, str(policy), "champion")}
    assert list(found) == [plant.name for plant in selftest.PLANTS]
    assert found["same"].status is Status.INVALID
    assert found["copy"].status is Status.PASS
    assert found["swapped"].status is Status.INVALID
    assert found["truncated"].status is Status.PASS
    assert not found["truncated"].caught
    assert not found["leaked"].caught  # no entry asks for contamination
    assert [path.name for path in session.home.root.glob("selftest-*")] == []
    assert len(session.ledger.verdicts(read_digest(session))) == 0


def read_digest(session: Session) -> str:
    digest = session.ledger.alias("champion")
    assert digest is not None
    return digest


def test_without_a_champion_there_is_nothing_to_plant_in(tmp_path: Path) -> None:
    with pytest.raises(selftest.SelftestError, match="promote one first"):
        run_selftest(
            Session.open(tmp_path, None), str(policy_file(tmp_path / "policies")), "champion"
        )


def test_a_copy_with_a_millionth_of_noise_has_other_weights_and_the_same_likelihoods(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    parent = read_manifest(tiny_checkpoint).weights_digest
    made = selftest.noisy_copy(
        tiny_checkpoint, tmp_path / "copy", scale=1e-6, name="copy", parent=parent
    )
    assert made.weights_digest != parent
    texts = ["the cat sat on the mat", "a dog ran"]
    assert open_runner(tmp_path / "copy").documents(texts) == pytest.approx(
        open_runner(tiny_checkpoint).documents(texts), rel=1e-3
    )


def test_a_truncating_pool_leaves_two_words(tiny_checkpoint: Path) -> None:
    dialogue = [Message(role="user", content="the cat sat")]
    [(_, [answer])] = selftest.truncating(tiny_checkpoint).run(
        "answers", [[dialogue]], Sampling(max_tokens=24)
    )
    assert len(answer.split()) <= selftest.WORDS_LEFT


def test_swapped_labels_make_another_answer_right(tmp_path: Path, session: Session) -> None:
    from commands.policies import open_policy

    policy = open_policy(session, str(policy_file(tmp_path / "policies")))
    swapped = selftest.swapped_labels(policy, tmp_path)
    before = json.loads((tmp_path / "policies" / "pairs.jsonl").read_text().splitlines()[0])
    after = json.loads((tmp_path / "pairs.jsonl").read_text().splitlines()[0])
    assert (after["good"], after["bad"]) == (before["bad"], before["good"])
    assert swapped.entries[1] == policy.entries[1]
