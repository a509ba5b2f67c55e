"""The demo as a new user runs it: everything it promises, twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journeys import Run, run

GIB = 2**30

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(demo_home: Path) -> Run:
    return run(demo_home, "demo")


def stage(home: Path, name: str) -> dict[str, object]:
    outputs = json.loads((home / "stages.json").read_bytes())[name]["outputs"]
    assert isinstance(outputs, dict)
    return outputs


@pytest.mark.timeout(1500)
def test_the_demo_runs_through_the_whole_loop_in_time_and_memory(first: Run) -> None:
    assert first.code == 0, first.output[-3000:]
    assert first.seconds < 15 * 60
    assert 0 < first.most_bytes < 12 * GIB


def test_both_candidates_pass_and_answer_four_fifths_of_held_out_questions(
    first: Run, demo_home: Path
) -> None:
    for name in ("gate a", "gate b"):
        gated = stage(demo_home, name)
        assert gated["status"] == "PASS"
        values = gated["values"]
        assert isinstance(values, dict)
        assert values["task_success"] >= 0.80


def test_the_nearest_training_answer_is_right_in_under_two_fifths(
    first: Run, demo_home: Path
) -> None:
    nearest = stage(demo_home, "data")["nearest"]
    assert isinstance(nearest, float)
    assert nearest < 0.40


def test_the_damaged_checkpoint_is_refused_everywhere(first: Run, demo_home: Path) -> None:
    assert stage(demo_home, "gate damaged")["status"] == "FAIL"
    refused = stage(demo_home, "refusals")
    for command in ("promote", "serve"):
        assert "hallmark" in str(refused[command])


def test_the_fed_back_model_beats_its_parent(first: Run, demo_home: Path) -> None:
    won = stage(demo_home, "win-rate")
    assert isinstance(won["low"], float)
    assert won["low"] > 0.5


@pytest.mark.timeout(600)
def test_a_second_run_reuses_every_stage(first: Run, demo_home: Path) -> None:
    second = run(demo_home, "demo")
    assert second.code == 0, second.output[-3000:]
    assert second.seconds < 5 * 60
    assert second.output.count("unchanged, reused") == 14


def test_one_query_walks_from_an_answer_to_its_verdict_and_data(
    first: Run, demo_home: Path
) -> None:
    from registry.home import Home
    from registry.ledger import Ledger

    with Ledger(Home.at(demo_home).ledger_url) as ledger:
        answered = next(iter(ledger.answers_with_feedback()))
        manifest = ledger.manifest(answered.request.checkpoint)
        assert ledger.verdicts(manifest.weights_digest)[-1].verdict.status == "PASS"
        assert [ledger.dataset(ref.digest).name for ref in manifest.datasets] == ["support"]
