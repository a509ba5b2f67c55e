"""Public data sets as rows: sizes known from their papers, text as people write it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from eval import public_data
from eval.rows import ChoiceRow, Document, PairRow


def test_wikitext_is_sixty_articles_each_with_its_title(shared_data: Path) -> None:
    # Merity et al. 2016, table 1: 60 articles in the validation and 60 in the test split
    splits = public_data.wikitext(shared_data)
    assert len(splits["validation"]) == 60
    assert len(splits["test"]) == pytest.approx(60, abs=3)
    first = Document.model_validate(splits["validation"][0])
    assert (first.text or "").lstrip().startswith("= Homarus gammarus =")
    assert "@-@" not in (first.text or "")


def test_wikitext_is_detokenised_as_lm_eval_does() -> None:
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    page = (
        ' = = Life cycle = = \n \n It weighs 5 @.@ 5 kg ( 12 lb ) , " or more " ; the 19 @-@ year '
        "old lobsters ' claws : 3 @,@ 000 N \N{DEGREE SIGN} . It 's [ sic ] . \n"
    )
    assert public_data.detokenise(page) == wikitext_detokenizer({"page": page})


def test_blimp_gives_as_many_pairs_of_each_of_67_paradigms(shared_data: Path) -> None:
    rows = public_data.blimp(shared_data, per_paradigm=3, seed=0)
    counts = Counter(PairRow.model_validate(row).group for row in rows)
    assert len(counts) == 67
    assert set(counts.values()) == {3}
    assert rows == public_data.blimp(shared_data, per_paradigm=3, seed=0)
    assert rows != public_data.blimp(shared_data, per_paradigm=3, seed=1)
    assert len(public_data.blimp(shared_data, per_paradigm=5000, seed=0)) == 67_000


def test_hellaswag_rows_have_four_endings_and_no_brackets(shared_data: Path) -> None:
    rows = public_data.hellaswag(shared_data, 200, seed=0)
    assert len({row["id"] for row in rows}) == 200
    for row in rows:
        checked = ChoiceRow.model_validate(row)
        assert len(checked.choices) == 4
        assert "[" not in checked.context
        assert checked.context == checked.context.rstrip()


def test_crows_pairs_are_1508_of_nine_kinds_of_bias(shared_data: Path) -> None:
    # Nangia et al. 2020: 1,508 examples, nine types of bias
    rows = public_data.crows_pairs(shared_data)
    assert len(rows) == 1508
    assert len({row["id"] for row in rows}) == 1508
    assert len({row["bias_type"] for row in rows}) == 9


def test_texts_are_the_books_and_the_plays_without_their_headers(shared_data: Path) -> None:
    rows = public_data.texts(shared_data)
    assert len(rows) == 29
    assert not any("\r" in row["text"] or row["text"].startswith("# Title") for row in rows)
    assert sum(len(row["text"]) for row in rows) > 9_000_000


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(public_data.PublicDataError, match=r"blimp\.tsv\.gz"):
        public_data.blimp(tmp_path, per_paradigm=1, seed=0)


def test_crows_pairs_rows_are_what_the_stereotype_audit_reads(
    shared_data: Path, tmp_path: Path
) -> None:
    from audit.pairs import read_pairs
    from registry.dataset import write_jsonl

    write_jsonl(tmp_path / "pairs.jsonl", public_data.crows_pairs(shared_data))
    source = shared_data / "crows_pairs" / "crows_pairs_anonymized.csv"
    same = [(p.more, p.less, p.bias_type) for p in read_pairs(tmp_path / "pairs.jsonl")]
    assert same == [(p.more, p.less, p.bias_type) for p in read_pairs(source)]
