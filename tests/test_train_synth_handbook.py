"""The handbook: grounded pages of the training world."""

from __future__ import annotations

import re

from train.synth_handbook import NUM_STATEMENTS, handbook
from train.synth_world import SIZES, numbers


def test_the_same_seed_gives_the_same_pages_and_more_only_appends() -> None:
    assert handbook(5, seed=1) == handbook(8, seed=1)[:5]
    assert handbook(5, seed=1) != handbook(5, seed=2)


def test_a_page_recites_the_shop_and_then_states_things_about_it() -> None:
    for page in handbook(20, seed=0):
        system, assistant = page.messages
        parts = [part for part in re.split(r"(?<=\.)\s|\n", system.content) if part]
        lines = assistant.content.split("\n")
        assert sorted(lines[: len(parts)]) == sorted(parts)
        assert len(lines) == len(parts) + NUM_STATEMENTS


def test_every_number_that_is_said_was_shown_or_named_before() -> None:
    sizes = {str(size) for size in numbers(SIZES, "training")}
    for page in handbook(50, seed=0):
        system, assistant = page.messages
        shown = set(re.findall(r"\d+", system.content))
        assert set(re.findall(r"\d+", assistant.content)) <= shown | sizes
