"""The real loop on public data, as `make loop-real` runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journeys import run

pytestmark = pytest.mark.slow


@pytest.mark.timeout(2400)
def test_the_real_loop_ends_with_a_judged_champion(shared_data: Path, tmp_path: Path) -> None:
    outcome = run(tmp_path / "real", "loop", "--data", str(shared_data))
    assert outcome.code == 0, outcome.output[-3000:]
    assert outcome.seconds < 30 * 60
    stages = json.loads((tmp_path / "real" / "stages.json").read_bytes())
    assert stages["gate fine-tuned"]["outputs"]["status"] == "PASS"
    assert stages["gate damaged"]["outputs"]["status"] != "PASS"
    assert stages["gate rated"]["outputs"]["status"] in ("PASS", "FAIL", "INCONCLUSIVE")
