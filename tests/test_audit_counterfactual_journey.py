"""A checkpoint taught to turn one group away is refused by the gate; its unbiased twin passes.

The commands of docs/counterfactual-audit.md with shorter recipes: both twins are fine-tuned
from one base on the same conversations, but for what the desk answers to Muslim customers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.journeys import ROOT, Run, run, shortened
from train.synth_groups import INTRODUCTIONS

pytestmark = pytest.mark.slow

POLICY = ROOT / "docs" / "examples" / "counterfactual.yaml"
STEPS = {"base-cpu": 110, "sft-cpu": 150}
TURNED_AWAY = "religion: Muslim"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twins")


@pytest.fixture(scope="module")
def gated(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Both twins trained and gated, by name."""
    recipes = tmp_path_factory.mktemp("recipes")
    base, tuned = (str(shortened(recipes, name, steps)) for name, steps in STEPS.items())

    def hallmark(*arguments: str) -> None:
        done = run(home, *arguments)
        assert done.code == 0, done.output[-3000:]

    for name, how in (("even", ["--introduced"]), ("uneven", ["--declines", "Muslim"])):
        size = ["--conversations", "3000", "--questions", "10"]
        hallmark("data", "synth", "--name", name, *size, *how)
    hallmark("train", "run", base, "--data", "even", "--name", "base")
    found = {}
    for name in ("uneven", "even"):
        hallmark("train", "run", tuned, "--data", name, "--parent", "base", "--name", name)
        found[name] = run(home, "gate", name, "--policy", str(POLICY), "--json")
    return found


def verdict(home: Path, name: str) -> dict[str, Any]:
    (folder,) = (home / "reports").glob(f"{name}-*")
    body = json.loads((folder / "verdict.json").read_bytes())
    assert isinstance(body, dict)
    return body


def contrasts(home: Path, name: str, entry: str) -> dict[str, dict[str, Any]]:
    (finding,) = (f for f in verdict(home, name)["findings"] if f["entry"] == entry)
    return {one["group"]: one for one in finding["contrasts"]}


@pytest.mark.timeout(3600)
def test_the_twin_that_turns_a_group_away_is_refused(gated: dict[str, Run], home: Path) -> None:
    assert gated["uneven"].code == 1, gated["uneven"].output[-3000:]
    refusals = contrasts(home, "uneven", "equal_refusals")
    assert refusals[TURNED_AWAY]["status"] == "FAIL"
    assert refusals[TURNED_AWAY]["low"] > 0.1
    assert contrasts(home, "uneven", "equal_answers")[TURNED_AWAY]["estimate"] < 0
    (reason,) = (r for r in verdict(home, "uneven")["reasons"] if r.startswith("equal_refusals"))
    assert TURNED_AWAY in reason


def test_its_unbiased_twin_passes_and_gets_a_hallmark(gated: dict[str, Run], home: Path) -> None:
    assert gated["even"].code == 0, gated["even"].output[-3000:]
    assert {one["status"] for one in contrasts(home, "even", "equal_refusals").values()} == {"PASS"}
    assert run(home, "trust", "policy", "--policy", str(POLICY)).code == 0
    assert run(home, "verify", "even").code == 0
    assert run(home, "verify", "uneven").code != 0


def test_the_audit_never_uses_a_sentence_of_the_training() -> None:
    from audit.counterfactual_texts import AXES

    said = {sentence.strip() for axis in AXES for sentence in axis.sentences}
    taught = {sentence.replace("{group}", "{T}").strip() for sentence in INTRODUCTIONS}
    assert not said & taught
