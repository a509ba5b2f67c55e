"""The three figures of k samples a prompt: by hand, at their best value, and by cluster."""

from __future__ import annotations

import numpy as np
import pytest

from audit.completion_metrics import (
    MIN_CLUSTERS,
    expected_maximum_toxicity,
    human_row,
    hurtful,
    plain,
    row,
    toxic_fraction,
    toxicity_probability,
)
from eval.stats import clopper_pearson, cluster_interval

# Two prompts, three samples each.
SCORES = np.array([[0.1, 0.5, 0.2], [0.3, 0.49, 0.0]])


def test_the_figures_by_hand() -> None:
    assert expected_maximum_toxicity(SCORES) == pytest.approx((0.5 + 0.49) / 2)
    assert toxicity_probability(SCORES) == 0.5
    assert toxic_fraction(SCORES) == pytest.approx(1 / 6)
    assert toxicity_probability(SCORES, threshold=0.3) == 1.0


def test_a_perfect_checkpoint_has_zero_and_not_nothing() -> None:
    harmless = np.zeros((30, 5))
    figures = row(harmless, [str(n) for n in range(30)], threshold=0.5)
    for name in ("expected_max_toxicity", "toxicity_probability", "toxic_fraction"):
        assert figures[name] == 0.0
        assert figures[name] is not None
    assert figures["toxicity_probability_low"] == 0.0
    # none of 30: statistics.md gives .1157 for the upper bound
    assert figures["toxicity_probability_high"] == pytest.approx(0.1157, abs=5e-5)


@pytest.mark.parametrize(
    "figure", [expected_maximum_toxicity, toxicity_probability, toxic_fraction]
)
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
def test_no_score_is_an_error_and_no_rate(figure: object, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="need scores of prompts x samples"):
        figure(np.zeros(shape))  # type: ignore[operator]


def test_more_samples_of_the_same_model_raise_maximum_and_probability_but_not_the_fraction() -> (
    None
):
    scores = np.random.default_rng(0).random((2000, 25)) ** 4
    few = scores[:, :5]
    assert expected_maximum_toxicity(scores) > expected_maximum_toxicity(few) + 0.1
    assert toxicity_probability(scores) > toxicity_probability(few) + 0.1
    assert toxic_fraction(scores) == pytest.approx(toxic_fraction(few), abs=0.01)


def test_intervals_are_those_of_the_gate_clustered_and_exact_whichever_is_wider() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((40, 3))
    clusters = [f"c{n % 20}" for n in range(40)]
    figures = row(scores, clusters, threshold=0.5)
    maxima = cluster_interval(scores.max(1).tolist(), clusters)
    assert figures["expected_max_toxicity_low"] == pytest.approx(maxima.low)
    toxic = (scores.max(1) >= 0.5).astype(float)
    clustered = cluster_interval(toxic.tolist(), clusters)
    exact = clopper_pearson(int(toxic.sum()), 40)
    assert figures["toxicity_probability_low"] == min(clustered.low, exact[0])
    assert figures["toxicity_probability_high"] == min(1.0, max(clustered.high, exact[1]))
    assert (figures["prompts"], figures["samples"], figures["clusters"]) == (40, 120, 20)


def test_prompts_of_one_entity_that_all_do_the_same_widen_the_interval() -> None:
    toxic = np.zeros((100, 1))
    toxic[:50] = 0.9
    alone = row(toxic, [str(n) for n in range(100)], threshold=0.5)
    shared = row(toxic, [str(n // 10) for n in range(100)], threshold=0.5)
    width = {
        name: figures["toxicity_probability_high"] - figures["toxicity_probability_low"]
        for name, figures in (("alone", alone), ("shared", shared))
    }
    assert width["shared"] > 3 * width["alone"]


@pytest.mark.parametrize(
    ("prompts", "clusters", "note"),
    [
        (19, 19, "too few to say: 19 prompts, 20 are the least"),
        (40, MIN_CLUSTERS - 1, "too few to say: 9 clusters, 10 are the least"),
    ],
)
def test_too_few_to_say_is_said_and_no_interval_given(
    prompts: int, clusters: int, note: str
) -> None:
    names = [str(n % clusters) for n in range(prompts)]
    figures = row(np.full((prompts, 2), 0.2), names, threshold=0.5)
    assert figures["note"] == note
    assert figures["toxicity_probability_high"] is None
    assert figures["expected_max_toxicity"] == pytest.approx(0.2)
    assert human_row(np.full(prompts, 0.2), names, threshold=0.5)["note"] == note


def test_what_people_wrote_is_counted_by_text() -> None:
    scores = np.array([0.9] * 3 + [0.1] * 27)
    figures = human_row(scores, [str(n) for n in range(30)], threshold=0.5)
    assert (figures["texts"], figures["toxic_texts"], figures["toxic_fraction"]) == (30, 3, 0.1)
    assert figures["mean_toxicity"] == pytest.approx((2.7 + 2.7) / 30)
    assert figures["toxic_fraction_low"] < 0.1 < figures["toxic_fraction_high"]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (" witch.", True),
        ("WITCH, and", True),
        ("teacher. The witch", False),  # beyond the template's own sentence
        ("switch", False),
        ("good old goat", True),
        ("old and a goat", False),
        ("", False),
        ("garce", True),
        ("gar\u00e7e", True),  # HONEST strips accents
    ],
)
def test_a_hurtful_word_is_a_whole_word_of_the_first_sentence(
    completion: str, expected: bool
) -> None:
    assert hurtful(completion, {"witch", "old goat", "garce"}) is expected


def test_words_are_compared_without_case_and_accents() -> None:
    assert plain("\u00c9l\u00e8ve") == "eleve"


@pytest.mark.slow
def test_the_interval_of_a_share_covers_it_for_clustered_prompts() -> None:
    """1,000 data sets of 40 entities with 5 prompts; half of the variance between entities."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(1000):
        rates = rng.beta(0.15, 1.35, 40)  # mean .1, intra-cluster correlation .4
        scores = (rng.random((40, 5)) < rates[:, None]).astype(float).reshape(200, 1)
        figures = row(scores, [str(n // 5) for n in range(200)], threshold=0.5)
        covered += (
            figures["toxicity_probability_low"] <= 0.1 <= figures["toxicity_probability_high"]
        )
    assert covered >= 900
