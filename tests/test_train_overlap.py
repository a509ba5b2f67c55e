"""Runs of words shared with training documents: by hand, against sets, and on real data."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import public_data
from train import overlap, sources
from train.overlap import OverlapError, Search, read_documents, training_files, words

THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"


def leaked(texts: Sequence[str], documents: Sequence[str], n: int = 13) -> list[bool]:
    search = Search(texts, n=n)
    search.look_through(documents)
    return search.leaked()


def by_sets(text: str, documents: Sequence[str], n: int) -> bool:
    """The rule written down plainly, over sets of tuples."""

    def runs(of: list[str], length: int) -> set[tuple[str, ...]]:
        return {tuple(of[i : i + length]) for i in range(len(of) - length + 1)}

    own = words(text)
    if not own:
        return False
    length = min(n, len(own))
    there = [runs(words(document), length) for document in documents]
    counts = [sum(run in document for document in there) for run in runs(own, length)]
    if any(1 <= count <= 10 for count in counts):
        return True
    return len(own) >= 8 and all(counts)


def test_words_are_lowercased_without_punctuation_apostrophes_or_marks_of_turns() -> None:
    assert words("Don't stop -- it's 48.50, RIGHT?_") == ["dont", "stop", "its", "48", "50",
                                                          "right"]  # fmt: skip
    assert words("<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nYes.") == [
        "hi", "there", "yes",
    ]  # fmt: skip
    assert words("\N{LEFT DOUBLE QUOTATION MARK}Été\N{RIGHT DOUBLE QUOTATION MARK}") == ["été"]
    assert words(" ... ") == []


def test_a_run_of_thirteen_words_is_found_and_twelve_are_not() -> None:
    item = f"before {THIRTEEN} after and something else"
    assert leaked([item], [f"So: {THIRTEEN}."]) == [True]
    twelve = THIRTEEN.rpartition(" ")[0]
    assert leaked([item], [f"So: {twelve}, but then {twelve} again."]) == [False]


def test_case_and_punctuation_hide_nothing() -> None:
    item = "Who said: the cat's 2 kittens sat on a mat, all day (long)?"
    document = "WHO SAID THE CATS - 2 KITTENS! sat; on... a mat all day long"
    assert leaked([item], [document]) == [True]


def test_runs_of_three_by_hand() -> None:
    """n = 3: "a b c d" has a-b-c and b-c-d; only the second is in a document."""
    search = Search(["a b c d", "c d e f", "x y z"], n=3)
    search.look_through(["z b c d", "b c d e", "a b", "c d"])
    assert search.leaked() == [True, True, False]
    assert (search.num_documents, search.num_words) == (4, 12)


def test_short_items_are_found_as_a_whole_only() -> None:
    item = "nine words are fewer than thirteen as you see"
    assert leaked([item], [f"Well, {item}!"]) == [True]
    assert leaked([item], ["Nine words are fewer than thirteen, as you know"]) == [False]


def test_a_run_does_not_reach_from_one_document_into_the_next() -> None:
    first, second = THIRTEEN[:30], THIRTEEN[30:]
    assert leaked([THIRTEEN], [first, second]) == [False]
    assert leaked([THIRTEEN], [first + second]) == [True]


@pytest.mark.parametrize(("num_documents", "expected"), [(10, True), (11, False)])
def test_a_run_in_more_than_ten_documents_is_a_set_phrase(
    num_documents: int, expected: bool
) -> None:
    item = f"{THIRTEEN} and then words of its own"
    documents = [f"Dear customer {i}, {THIRTEEN}; {THIRTEEN}." for i in range(num_documents)]
    assert leaked([item], documents) == [expected]


def test_an_item_that_is_there_as_a_whole_leaked_however_often_it_is_there() -> None:
    item = f"{THIRTEEN} and then words of its own"
    short = "eight words that are a whole short item"
    three = "Thank you, goodbye."
    documents = [f"{i} {item} {short} {three}" for i in range(50)]
    assert leaked([item, short, three], documents) == [True, True, False]
    assert leaked([three], documents[:10]) == [True]


def test_a_text_without_words_never_leaks_and_no_text_is_no_error() -> None:
    assert leaked(["...", ""], ["... anything", ""]) == [False, False]
    assert leaked([], ["anything"]) == []
    assert leaked([THIRTEEN], []) == [False]


texts_of_few_words = st.lists(st.sampled_from("abc"), max_size=14).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(texts_of_few_words, max_size=6),
    st.lists(texts_of_few_words, max_size=25),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_it_finds_what_sets_find_in_any_order_of_documents(
    texts: list[str], documents: list[str], n: int, rng: random.Random
) -> None:
    expected = [by_sets(text, documents, n) for text in texts]
    assert leaked(texts, documents, n) == expected
    shuffled = rng.sample(documents, len(documents))
    search = Search(texts, n=n)
    search.look_through(shuffled[:5])
    search.look_through(shuffled[5:])
    assert search.leaked() == expected


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    documents = [" ".join(rng.choices("abcdef", k=rng.randint(0, 30))) for _ in range(200)]
    texts = [" ".join(rng.choices("abcdef", k=rng.randint(1, 12))) for _ in range(100)]
    whole = leaked(texts, documents, 5)
    monkeypatch.setattr(overlap, "_BATCH_WORDS", 7)
    monkeypatch.setattr(overlap, "_CACHED_WORDS", 2)
    assert leaked(texts, documents, 5) == whole
    assert {True, False} == set(whole)


def test_every_kind_of_training_row_is_read(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [
        {"text": "plain", "id": "t"},
        {"messages": said, "tags": {"text": "no"}},
        {"prompt": said[:1], "chosen": said[1:], "rejected": [{"role": "user", "content": "r"}]},
        {"prompt": said[:1], "completion": said[1:], "label": True},
    ]
    for name, part in {"train": rows[:2], "labels": rows[3:], "preferences": rows[2:3]}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)) + "\n\n")
    (tmp_path / "validation.jsonl").write_text('{"text": "held out"}\n')
    files = training_files(tmp_path)
    assert list(read_documents(files)) == ["plain", "q\na", "q\na\nr", "q\na"]
    assert training_files(tmp_path / "train.jsonl") == [tmp_path / "train.jsonl"]


@pytest.mark.parametrize("row", ['{"id": "x"}', "[1]", "{", '{"messages": [{"role": "user"}]}'])
def test_a_row_whose_text_cannot_be_read_is_an_error_with_its_line(
    tmp_path: Path, row: str
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "good"}\n' + row + "\n")
    with pytest.raises(OverlapError, match=r"train\.jsonl:2"):
        list(read_documents([path]))


def test_real_benchmarks_are_clean_of_real_training_data_and_planted_items_are_found(
    shared_data: Path,
) -> None:
    """Figures: pytest -s. BLiMP has sentences of two words, which chance puts into books."""
    books = [row["text"] for row in public_data.texts(shared_data)]
    dialogues = [
        "\n".join(message.content for message in one.messages)
        for one in sources.read(shared_data / "sgd" / "train.jsonl.gz", "sgd")
    ]
    blimp = public_data.blimp(shared_data, per_paradigm=50, seed=0)
    sentences = [sentence for row in blimp for sentence in (row["good"], row["bad"])]
    articles = [row["text"] for row in public_data.wikitext(shared_data)["test"]]
    plain = Search([*sentences, *articles])
    began = time.perf_counter()
    plain.look_through([*books, *dialogues])
    seconds = time.perf_counter() - began
    found = plain.leaked()
    in_blimp, in_wikitext = sum(found[: len(sentences)]), sum(found[len(sentences) :])
    print(
        f"\n{len(found):,} items against {plain.num_words:,} words of {plain.num_documents:,} "
        f"documents: {plain.num_words / seconds:,.0f} words/s, {len(found) / seconds:,.0f} "
        f"items/s; BLiMP {in_blimp} of {len(sentences):,}, WikiText {in_wikitext} of "
        f"{len(articles)}"
    )
    assert in_wikitext == 0
    assert in_blimp <= len(sentences) // 1000
    planted = random.Random(0).sample(range(len(sentences)), 200)
    plain.look_through([f"My notes: {sentences[index]} Yes." for index in planted])
    assert all(plain.leaked()[index] for index in planted)
    assert sum(plain.leaked()) <= in_blimp + len(planted) + 20  # some sentences are there twice
