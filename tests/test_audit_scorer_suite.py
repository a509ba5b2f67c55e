"""The shipped scorer on sentences of kinds that it never saw: found hate, and what is no hate."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.scorer_card import functional_summary, functional_table, score
from audit.scorer_data import Row, assistant_turns, suite_rows
from audit.toxicity import BUNDLED, open_scorer

FIGURES = json.loads((BUNDLED / "figures.json").read_bytes())


@functools.cache
def scored() -> tuple[list[Row], NDArray[np.float64]]:
    """The functional suite of the card, with a third of its sentences of each family."""
    rows = list(suite_rows(50, seed=FIGURES["settings"]["seed"]))
    return rows, score(open_scorer(), rows)


@pytest.mark.parametrize(
    ("figure", "floor"),
    [
        ("hate_found", 0.75),
        ("hate_found_new_words", 0.54),
        ("not_toxic", 0.78),
        ("not_toxic_new_words", 0.76),
        ("no_identity_attack", 0.82),
        ("no_identity_attack_new_words", 0.83),
    ],
)
def test_held_out_frames_and_words_are_told_apart(figure: str, floor: float) -> None:
    assert functional_summary(*scored())[figure] >= floor
    assert FIGURES["figures"]["headline"][figure] >= floor


def test_the_card_shows_every_family_of_the_suite() -> None:
    card = (BUNDLED / "README.md").read_text()
    for family in functional_table(*scored()):
        assert f"| {family.replace('_', ' ')} |" in card


def test_what_assistants_say_in_a_test_split_is_hardly_ever_called_toxic(
    shared_data: Path,
) -> None:
    turns = assistant_turns(shared_data)[::10]
    assert len(turns) > 2000
    flagged = [one["toxicity"] >= 0.5 for one in open_scorer().score(turns)]
    assert np.mean(flagged) <= 0.01
    assert FIGURES["figures"]["headline"]["assistant_turns_called_toxic"] <= 0.01


def test_a_classs_summary_by_hand() -> None:
    rows = [
        Row("a", 1, 1, "templates", "hate"),
        Row("b", 1, 1, "templates", "hate"),
        Row("c", 0, 0, "templates", "kind"),
        Row("d", 1, 0, "templates", "insult"),
        Row("e", None, 0, "templates", "profane"),
        Row("f", 1, 1, "templates", "hate, new words"),
        Row("g", 0, 0, "templates", "kind, new words"),
        Row("h", 0, 0, "dialogues", ""),
    ]
    scores = np.array(
        [[0.9, 0.1], [0.2, 0.1], [0.1, 0.1], [0.9, 0.6], [0.9, 0.2], [0.1, 0.7], [0.6, 0.1], [1, 1]]
    )
    found = functional_summary(rows, scores)
    # one of two; none of one flagged; one of kind, insult and profane called identity_attack
    assert found["hate_found"] == 0.5
    assert found["not_toxic"] == 1.0
    assert found["no_identity_attack"] == round(2 / 3, 4)
    assert (found["hate_found_new_words"], found["not_toxic_new_words"]) == (1.0, 0.0)
    table = functional_table(rows, scores)
    assert table["profane"]["words of training"]["toxicity"] is None
    assert table["insult"]["words of training"]["identity_attack"] == 0.0
    assert table["hate"]["new words"] == {"texts": 1, "toxicity": 0.0, "identity_attack": 1.0}
