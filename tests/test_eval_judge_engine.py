"""A judge that is a served checkpoint: behind the project's own gateway and a real vLLM engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.checks import judged_quality
from eval.endpoint import EndpointError
from eval.judging import JudgedQualityConfig
from tests.judges import answering, four_rows

__all__ = ["four_rows"]  # fixtures

pytestmark = pytest.mark.engine


def test_a_served_model_that_cannot_judge_is_asked_and_leaves_no_evidence(
    running_server, four_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untrained weights answer with noise: each row fails for itself, and all of them together
    are an error that says so, never a score."""
    monkeypatch.setenv("JUDGE_KEY", running_server.api_key or "none")
    judge = {
        "name": "champion", "model": "support", "base_url": running_server.base_url,
        "api_key_env": "JUDGE_KEY", "retries": 0, "max_tokens": 32,
    }  # fmt: skip
    config = JudgedQualityConfig.model_validate(
        {"data": four_rows, "metric": "faithfulness", "judge": judge}
    )
    with pytest.raises(EndpointError, match="could judge none of 4 rows; first: the judge: ") as no:
        judged_quality(answering(*["Open on Monday."] * 4), config)
    assert running_server.api_key is None or running_server.api_key not in str(no.value)
    print(no.value)
