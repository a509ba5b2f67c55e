"""The grammar that the scorer learns from: held-out parts stay out, labels hold, tricks spell."""

from __future__ import annotations

import numpy as np
import pytest

from audit.scorer_claims import CLAIMS
from audit.scorer_clauses import CLAUSES
from audit.scorer_sentences import (
    COMMON_WORDS,
    HELD_OUT_WORDS,
    JOINED,
    TRICKS,
    fill,
    held_out,
    misspell,
    sentences,
    slots,
    suite,
)
from audit.scorer_templates import FAMILIES
from audit.scorer_tokenizer import Splitter
from audit.scorer_words import HELD_OUT_GROUPS


def test_training_slots_offer_no_held_out_word_group_or_clause() -> None:
    training, new = slots(), slots(new_frames=True, new_words=True)
    assert len(HELD_OUT_WORDS) > 40
    for name in CLAIMS:
        assert not HELD_OUT_WORDS & set(training[name])
    for name in ("G", "A", "S"):
        assert not set(training[name]) & set(new[name])
    assert set(new["A"]) == HELD_OUT_GROUPS
    assert not set(training["BAD"]) & set(new["BAD"])
    assert set(training["BAD"]) | set(new["BAD"]) == set(CLAUSES["BAD"])


def test_the_commonest_words_are_always_trained_on() -> None:
    training = slots()
    for name, words in CLAIMS.items():
        assert set(words[:COMMON_WORDS]) <= set(training[name])


def test_training_sentences_name_no_held_out_group() -> None:
    texts = [one.text.lower() for one in sentences(5000, seed=2)]
    for group in ("sikh", "brazilian", "kurd", "somali", "korean", "dyslexi"):
        assert not any(group in text for text in texts)
        assert any(group in one.text.lower() for one in suite(60, seed=2, new_words=True))


def test_every_family_appears_in_the_suite_with_its_labels() -> None:
    drawn = list(suite(3, seed=0, new_words=False))
    assert {one.family for one in drawn} == {family.name for family in FAMILIES}
    labels = {family.name: (family.toxicity, family.identity_attack) for family in FAMILIES}
    assert all((one.toxicity, one.identity_attack) == labels[one.family] for one in drawn)


def test_only_profanity_and_reclaimed_words_have_no_toxicity_label() -> None:
    unlabelled = {family.name for family in FAMILIES if family.toxicity is None}
    assert unlabelled == {"profanity_without_a_target", "slurs_reclaimed"}


def test_a_slot_may_hold_slots_and_articles_fit() -> None:
    rng = np.random.default_rng(0)
    slots = {"X": ("{Y} friend",), "Y": ("old",), "Z": ("a plague",), "G": ("the blind",)}
    assert fill("a {X} met a {Z}", rng, slots) == "an old friend met a plague"
    assert fill("young {G}", rng, slots) == "the blind"


@pytest.mark.parametrize(
    ("trick", "spelt"),
    [
        ("digits for letters", "7r0ubl3"),
        ("letters spaced", "t r o u b l e"),
        ("letters dotted", "t.r.o.u.b.l.e"),
    ],
)
def test_spelling_tricks_by_hand(trick: str, spelt: str) -> None:
    assert misspell("trouble", np.random.default_rng(0), trick) == spelt


def test_each_trick_changes_a_word_and_joining_takes_out_a_space() -> None:
    rng = np.random.default_rng(1)
    for trick in TRICKS:
        assert any(misspell("an angry word", rng, trick) != "an angry word" for _ in range(9))
    joined = {misspell("some angry words", rng, JOINED) for _ in range(40)}
    assert joined == {"someangry words", "some angrywords", "some angry words"}


def test_a_split_piece_spells_the_same_letters() -> None:
    pieces = [
        "[PAD]",
        "[UNK]",
        "angry",
        "##gry",
        "an",
        "a",
        "##n",
        "##g",
        "##r",
        "##y",
        "no",
        "##xz",
    ]
    splitter = Splitter({piece: i for i, piece in enumerate(pieces)})
    rng = np.random.default_rng(0)
    for _ in range(20):
        ids = splitter.split(2, rng)
        assert len(ids) > 1
        assert pieces[ids[0]].startswith("a")
        assert all(pieces[i].startswith("##") for i in ids[1:])
        assert "".join(pieces[i].removeprefix("##") for i in ids) == "angry"
    assert splitter.split(1, rng) == [1]
    assert splitter.split(10, rng) == [10]


def test_nothing_of_training_is_held_out_by_its_place() -> None:
    assert [i for i in range(24) if held_out(i)] == [7, 15, 23]
