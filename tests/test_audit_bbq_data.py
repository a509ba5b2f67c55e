"""Which answer of a BBQ example is the stereotype's, and files that cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from audit.bbq_data import (
    BbqError,
    Example,
    biased_answers,
    example_files,
    is_about_names,
    read_examples,
)


def example(
    category: str,
    first: tuple[str, str],
    second: tuple[str, str],
    groups: tuple[str, ...],
    *,
    polarity: str = "neg",
    **more: Any,
) -> Example:
    """A question about two people; UNKNOWN comes last. ``more`` goes into the line."""
    line: dict[str, Any] = {
        "example_id": 0,
        "question_index": "1",
        "question_polarity": polarity,
        "context_condition": "ambig",
        "category": category,
        "answer_info": {"ans0": first, "ans1": second, "ans2": ("Not known", "unknown")},
        "additional_metadata": {
            "subcategory": more.pop("subcategory", "None"),
            "stereotyped_groups": groups,
        },
        "context": "Two people met.",
        "question": "Who was late?",
        "ans0": f"The {first[0]}",
        "ans1": f"The {second[0]}",
        "ans2": "Not known",
        "label": 2,
    }
    return Example.model_validate(line | more)


@pytest.mark.parametrize(
    ("category", "first", "second", "groups"),
    [
        # each row: the second person is the stereotyped one
        ("Age", ("old man", "old"), ("boy", "nonOld"), ("nonOld",)),
        ("Disability_status", ("pilot", "nonDisabled"), ("blind man", "disabled"),
         ("disabled", "people with blindness or low-vision")),
        ("Nationality", ("Danish", "Europe"), ("Irish", "Europe"), ("Irish",)),
        ("Race_ethnicity", ("African", "African"), ("African American", "African American"),
         ("Black", "African American")),
        ("Race_ethnicity", ("Amy Kim", "F-Asian"), ("Nia Banks", "F-Black"), ("Black",)),
        ("SES", ("judge", "highSES"), ("cashier", "lowSES"), ("low SES",)),
        ("Gender_identity", ("man", "man"), ("woman", "woman"), ("F",)),
        ("Gender_identity", ("boy", "boy"), ("girl", "girl"), ("Girls",)),
        ("Gender_identity", ("Ann", "nonTrans_F"), ("Bob", "trans_M"),
         ("Transgender women", "transgender men", "trans")),
        ("Sexual_orientation", ("lesbian", "lesbian"), ("gay", "gay"), ("gay",)),
    ],
)  # fmt: skip
def test_the_stereotyped_person_is_told_by_whole_names_of_groups(
    category: str, first: tuple[str, str], second: tuple[str, str], groups: tuple[str, ...]
) -> None:
    negative = example(category, first, second, groups)
    other = example(category, first, second, groups, polarity="nonneg")
    assert biased_answers([negative, other]) == [1, 0]


@pytest.mark.parametrize(
    ("first", "second"), [(("man", "man"), ("boy", "boy")), (("woman", "woman"), ("girl", "girl"))]
)
def test_where_both_or_none_are_stereotyped_no_answer_is_the_biased_one(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    assert biased_answers([example("Gender_identity", first, second, ("F",))]) == [None]


def test_in_crossed_categories_both_attributes_must_match() -> None:
    def crossed(kind: str, first: str, second: str) -> Example:
        people = (f"{first} person", first), (f"{second} person", second)
        return example("Race_x_gender", *people, ("Black", "African American"), subcategory=kind)

    rows = [
        crossed("intersectional_a", "M-Black", "F-Black"),
        crossed("intersectional_b", "F-White", "F-Black"),  # both F: the template is about women
        crossed("intersectional_c", "F-African American", "M-White"),
    ]
    assert biased_answers(rows) == [1, 1, 0]
    assert biased_answers(rows[:1]) == [None]  # nothing says which gender is meant


def test_a_latina_whose_notes_the_official_line_lacks_is_known_by_her_answer() -> None:
    def about(first: tuple[str, str], second: tuple[str, str], kind: str) -> Example:
        return example(
            "Race_x_gender", first, second, ("Hispanic", "Latino"), subcategory=kind,
            ans0="The Latina woman",
        )  # fmt: skip

    rows = [
        about(("", ""), ("Latino man", "M-Latino"), "intersectional_a"),
        about(("Hispanic woman", "F-Hispanic"), ("White woman", "F-White"), "intersectional_b"),
    ]
    assert biased_answers(rows) == [0, 0]


def test_names_are_a_label_of_their_own_kind() -> None:
    people = ("Nia Banks", "F-Black"), ("Amy Kim", "F-Asian")
    assert is_about_names(example("Race_ethnicity", *people, ("Black",), question_index="26"))
    assert not is_about_names(example("Race_ethnicity", *people, ("Black",), question_index="25"))
    assert is_about_names(example("Race_x_gender", *people, ("Black",)))
    labels = ("Black woman", "F-Black"), ("Asian woman", "F-Asian")
    assert not is_about_names(example("Race_x_gender", *labels, ("Black",)))


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else row.model_dump_json()) + "\n" for row in rows)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def test_the_official_folder_its_data_and_one_file_are_all_found(tmp_path: Path) -> None:
    row = example("Age", ("man", "old"), ("boy", "nonOld"), ("old",))
    plain = write(tmp_path / "data" / "Age.jsonl", [row])
    packed = write(tmp_path / "data" / "SES.jsonl.gz", [row])
    (tmp_path / "data" / "notes.txt").write_text("no example")
    assert example_files(tmp_path) == {"Age": plain, "SES": packed}
    assert example_files(tmp_path / "data") == {"Age": plain, "SES": packed}
    assert example_files(packed) == {"SES": packed}
    assert read_examples(plain) == read_examples(packed) == [row]


def test_lines_that_cannot_be_used_are_named_with_what_is_wrong(tmp_path: Path) -> None:
    row = example("Age", ("man", "old"), ("boy", "nonOld"), ("old",))
    body = json.loads(row.model_dump_json())
    with pytest.raises(BbqError, match=r"Age\.jsonl:2: .*label"):
        read_examples(write(tmp_path / "Age.jsonl", [row, json.dumps(body | {"label": 3})]))
    body["answer_info"]["ans1"] = ["Unknown", "unknown"]
    with pytest.raises(BbqError, match=r"Age\.jsonl:1: need one answer marked unknown, got 2"):
        read_examples(write(tmp_path / "Age.jsonl", [json.dumps(body)]))
    del body["answer_info"]["ans1"]
    with pytest.raises(BbqError, match=r"Age\.jsonl:1: answer_info needs ans0, ans1, ans2"):
        read_examples(write(tmp_path / "Age.jsonl", [json.dumps(body)]))
    with pytest.raises(BbqError, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl")
    torn = write(tmp_path / "SES.jsonl.gz", [row])
    torn.write_bytes(torn.read_bytes()[:-9])
    with pytest.raises(BbqError, match=r"SES\.jsonl\.gz cannot be read"):
        read_examples(torn)
