"""The handbook: grounded pages of the training world."""

from __future__ import annotations

import re

from train.synth_handbook import handbook


def test_the_same_seed_gives_the_same_pages_and_more_only_appends() -> None:
    assert handbook(5, seed=1) == handbook(8, seed=1)[:5]
    assert handbook(5, seed=1) != handbook(5, seed=2)


def test_a_page_recites_the_shop_and_then_states_each_thing_about_it_once() -> None:
    for page in handbook(20, seed=0):
        system, assistant = page.messages
        shown = system.content.split("\n")
        lines = assistant.content.split("\n")
        assert sorted(lines[: len(shown)]) == sorted(shown)
        stated = lines[len(shown) :]
        assert len(set(stated)) == len(stated)
        assert {line.split()[0] for line in stated} > {"Order", "The"}


def test_every_number_that_is_said_was_shown() -> None:
    for page in handbook(50, seed=0):
        system, assistant = page.messages
        shown = set(re.findall(r"\d+", system.content))
        assert set(re.findall(r"\d+", assistant.content)) == shown
