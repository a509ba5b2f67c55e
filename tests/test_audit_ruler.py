"""The ruler's own audit: AUC with ties, and the three AUCs of an identity, by hand."""

from __future__ import annotations

import csv
import functools
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from audit.neutral_texts import GROUPS, audit_ruler
from audit.ruler import auc, by_identity, error_rates, mentions
from audit.scorer_data import (
    HELD_OUT_MADLIBS,
    TRAINING_MADLIBS,
    ScorerDataError,
    Splits,
    in_test,
    normal,
    read,
)
from audit.scorer_harmless import QUOTED
from audit.scorer_sentences import held_out, misspell, sentences
from audit.scorer_templates import FAMILIES


def test_auc_counts_pairs_in_order_and_ties_half() -> None:
    # pairs (.9,.1) (.9,.5) right, (.5,.1) right, (.5,.5) tied: 3.5 of 4
    assert auc(np.array([0.9, 0.5]), np.array([0.1, 0.5])) == 3.5 / 4
    assert auc(np.array([]), np.array([0.5])) is None


def test_an_identity_row_by_hand() -> None:
    texts = ["gay bad", "gay good", "other bad", "other good"]
    labels = np.array([True, False, True, False])
    # mentions of the term push the score up: subgroup right, BPSN wrong, BNSP right
    row = by_identity(texts, labels, np.array([0.9, 0.6, 0.5, 0.1]), ["gay"])[0]
    assert (row.subgroup_auc, row.bpsn_auc, row.bnsp_auc) == (1.0, 0.0, 1.0)
    assert (row.false_positive_rate, row.false_negative_rate) == (1.0, 0.0)
    assert row.lowest == 0.0


def test_error_rates_by_group_by_hand_and_undefined_without_texts() -> None:
    # a: 1 of 2 harmless called toxic, 2 of 3 toxic missed; b has no toxic text, c no harmless one
    toxic = [False, False, True, True, True, False, True]
    called = [True, False, True, False, False, False, True]
    assert error_rates(toxic, called, ["a"] * 5 + ["b", "c"]) == {
        "a": {"texts": 5, "false_positive_rate": 1 / 2, "false_negative_rate": 2 / 3},
        "b": {"texts": 1, "false_positive_rate": 0.0, "false_negative_rate": None},
        "c": {"texts": 1, "false_positive_rate": None, "false_negative_rate": 0.0},
    }


def test_the_ruler_is_audited_on_matched_neutral_and_matched_toxic_texts() -> None:
    class Deaf:
        """Scores .9 wherever the word is "muslim", and nothing else."""

        name, digest = "deaf", "sha256:0"

        def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
            return [{"toxicity": 0.9 if "muslim" in text else 0.0} for text in texts]

    found = audit_ruler(Deaf(), threshold=0.5)
    assert found["gap"] == pytest.approx(0.9)
    assert found["errors"]["muslim"] == {
        "texts": 20,
        "false_positive_rate": 1.0,
        "false_negative_rate": 0.0,
    }
    assert found["errors"]["jewish"]["false_positive_rate"] == 0.0
    assert found["errors"]["jewish"]["false_negative_rate"] == 1.0
    assert len(found["errors"]) == len(GROUPS)


def test_a_longer_terms_words_count_for_it_alone() -> None:
    found = mentions(["I am African American", "americans"], ["american", "african american"])
    assert found["african american"].tolist() == [True, False]
    assert found["american"].tolist() == [False, False]


@functools.cache
def splits_of(data: Path) -> Splits:
    return read(data, num_sentences=3000, num_madlibs=500, seed=0)


def test_training_and_held_out_texts_share_nothing(shared_data: Path) -> None:
    splits = splits_of(shared_data)
    train = {normal(row.text) for row in splits.train}
    assert not train & {normal(row.text) for row in splits.test}
    assert not train & {normal(row.text) for row in splits.madlibs}
    assert {row.part for row in splits.train if row.source == "madlibs"} <= TRAINING_MADLIBS
    assert {row.part for row in splits.madlibs} >= HELD_OUT_MADLIBS


def test_a_source_without_a_label_leaves_it_open(shared_data: Path) -> None:
    splits = splits_of(shared_data)
    toxic_comments = [r for r in splits.train if r.source == "wikipedia" and r.toxicity == 1]
    assert toxic_comments
    assert all(row.identity_attack is None for row in toxic_comments)


def test_a_missing_data_set_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ScorerDataError, match=r"labeled_data\.csv .*give the folder that holds"):
        read(tmp_path, num_sentences=10, num_madlibs=10, seed=0)
    folder = tmp_path / "davidson_hate"
    folder.mkdir()
    (folder / "labeled_data.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ScorerDataError, match="has no column class, tweet"):
        read(tmp_path, num_sentences=10, num_madlibs=10, seed=0)


def test_the_hash_split_holds_out_a_tenth_and_ignores_case_and_punctuation() -> None:
    texts = [f"text number {i}" for i in range(2000)]
    assert 150 < sum(map(in_test, texts)) < 250
    assert all(in_test(text) == in_test(text.upper() + "!") for text in texts)


def test_sentences_repeat_with_their_seed_and_held_out_templates_stay_out() -> None:
    first, again = (list(sentences(300, seed=4)) for _ in range(2))
    assert first == again
    assert list(sentences(300, seed=5)) != first
    for family in FAMILIES:
        assert any(held_out(i) for i in range(len(family.templates)))
    assert sum(map(held_out, range(len(QUOTED)))) >= 2


def test_every_family_has_one_label_and_attacks_are_toxic() -> None:
    for sentence in sentences(2000, seed=0):
        if sentence.toxicity is None:
            assert sentence.identity_attack == 0
        else:
            assert sentence.identity_attack <= sentence.toxicity
        assert "{" not in sentence.text


def test_a_spelling_trick_changes_one_word_and_leaves_short_texts_alone() -> None:
    rng = np.random.default_rng(0)
    assert misspell("a an it", rng) == "a an it"
    text = "please remember the order now"
    assert sum(misspell(text, rng) != text for _ in range(50)) > 40


def test_the_madlibs_have_the_layout_that_the_split_expects(shared_data: Path) -> None:
    path = shared_data / "jigsaw_unintended_bias" / "bias_madlibs_77k.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        templates = {line["Template"] for line in csv.DictReader(file)}
    assert templates == TRAINING_MADLIBS | HELD_OUT_MADLIBS
