"""The real loop on public data, as `make loop-real` runs it but for shorter trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journeys import run, shortened

pytestmark = pytest.mark.slow

STEPS = {"real-base-cpu": 50, "real-sft-cpu": 25, "real-prefer-cpu": 10}


@pytest.mark.timeout(2400)
def test_the_real_loop_ends_with_a_judged_champion(shared_data: Path, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name, steps in STEPS.items():
        shortened(recipes, name, steps, tokens_per_batch=4096)
    outcome = run(tmp_path / "real", "loop", "--data", str(shared_data), "--recipes", str(recipes))
    assert outcome.code == 0, outcome.output[-3000:]
    assert outcome.seconds < 30 * 60
    stages = json.loads((tmp_path / "real" / "stages.json").read_bytes())
    assert stages["gate fine-tuned"]["outputs"]["status"] == "PASS"
    assert stages["gate damaged"]["outputs"]["status"] != "PASS"
    assert stages["gate rated"]["outputs"]["status"] in ("PASS", "FAIL", "INCONCLUSIVE")
