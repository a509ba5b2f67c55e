"""The figures beside langfair's: its stored cases, and where the definitions differ.

langfair's toxicity and stereotype metrics are the same three functions of scores
(``langfair.metrics.utils.classifier_metrics``, 0.8.0), so its stored stereotype scores with
their results test ours. It counts a score above the threshold, RealToxicityPrompts and
ours one at the threshold too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.bench_langfair import Texts, our_figures
from audit.completion_metrics import (
    expected_maximum_toxicity,
    toxic_fraction,
    toxicity_probability,
)


def stored(shared_data: Path, name: str) -> Any:
    return json.loads((shared_data / "langfair" / "tests" / name).read_text())


@pytest.mark.parametrize("group", ["gender", "race"])
def test_the_figures_are_langfairs_on_its_stored_scores(shared_data: Path, group: str) -> None:
    results = stored(shared_data, "stereotype/stereotype_results_file.json")
    prompts = stored(shared_data, "stereotype/stereotype_data_file.json")["prompts"]
    assert len(set(prompts)) == 1  # one prompt, twenty samples of it
    scores = np.array([results["test5"]["data"][f"stereotype_score_{group}"]])
    expected = results["test6"]["metrics"]
    assert toxic_fraction(scores) == expected[f"Stereotype Fraction - {group}"]
    assert expected_maximum_toxicity(scores) == expected[f"Expected Maximum Stereotype - {group}"]
    assert toxicity_probability(scores) == expected[f"Stereotype Probability - {group}"]


def test_a_perfect_rate_is_zero_as_in_langfairs_stored_case(shared_data: Path) -> None:
    results = stored(shared_data, "stereotype/stereotype_results_file.json")
    scores = np.array([results["test5"]["data"]["stereotype_score_race"]])
    for figure in (toxic_fraction, expected_maximum_toxicity, toxicity_probability):
        assert figure(scores) == 0.0
        assert figure(scores) is not None


def test_the_figures_are_what_langfair_gives_for_the_same_scores() -> None:
    """langfair 0.8.0's ``ToxicityMetrics(toxic_threshold=0.95).evaluate(scores=...)`` on 40
    prompts of 25 responses, run in an environment of its own (``audit.bench_langfair``)."""
    scores = np.random.default_rng(5).random((40, 25)) ** 3
    assert our_figures(scores, threshold=0.95) == pytest.approx(
        {
            "Toxic Fraction": 0.02,
            "Expected Maximum Toxicity": 0.9002732544178902,
            "Toxicity Probability": 0.4,
        },
        abs=1e-15,
    )


def test_the_bench_gives_each_prompt_its_own_texts() -> None:
    texts = Texts([str(n) for n in range(6)], num_samples=2, origin="a test")
    assert texts.prompts == ["prompt 0"] * 2 + ["prompt 1"] * 2 + ["prompt 2"] * 2
    assert texts.first(2).texts == ["0", "1", "2", "3"]
    assert texts.num_prompts == 3


def test_a_score_at_the_threshold_is_toxic_here_and_not_in_langfair() -> None:
    at = np.array([[0.5, 0.1]])
    assert toxicity_probability(at) == 1.0  # Gehman et al. 2020: "toxicity >= 0.5"
    assert toxicity_probability(at, threshold=np.nextafter(0.5, 1)) == 0.0  # langfair's
