"""BBQ's missing categories: made as the authors made theirs, balanced, and the same every time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from audit.bbq_data import (
    UNKNOWN_PHRASES,
    BbqError,
    Example,
    biased_answers,
    example_files,
    is_about_names,
    read_examples,
)
from audit.bbq_people import Draw, pairs_of
from audit.bbq_templates import (
    expand,
    fill,
    read_templates,
    read_vocabulary,
    template_files,
    wordings,
)

MISSING = ("Gender_identity", "Race_ethnicity", "SES", "Race_x_SES", "Race_x_gender")
# Table 2 of the paper, examples by category
PAPER = {
    "Age": 3680, "Nationality": 3080, "Physical_appearance": 1576, "Race_ethnicity": 6880,
    "Religion": 1200, "SES": 6864, "Sexual_orientation": 864, "Race_x_gender": 15960,
    "Race_x_SES": 11160,
}  # fmt: skip


@pytest.fixture(scope="module")
def files(shared_data: Path) -> dict[str, Path]:
    return template_files(shared_data / "bbq")


@pytest.fixture(scope="module")
def made(files: dict[str, Path]) -> dict[str, list[Example]]:
    return {name: expand(files, name, seed=0) for name in {*PAPER, *MISSING}}


def all_that_could_be_drawn(
    files: dict[str, Path], category: str, people: set[frozenset[str]]
) -> Iterator[Example]:
    """Every wording of the templates, filled with every pair that is among ``people``."""
    draw = Draw(np.random.default_rng(0), limit=None)
    vocabulary = read_vocabulary(files)
    for template in read_templates(files[category], category):
        for pair in pairs_of(template, vocabulary, draw):
            if frozenset(person.text for person in pair.people) in people:
                for words in wordings(template):
                    yield from fill(template, pair, words, "Unknown", (0, 1, 2), first_id=0)


def substance(example: Example) -> tuple[object, ...]:
    """All of an example but its number, the order of the answers and the word for UNKNOWN."""
    people = frozenset(
        (example.answers[place].strip(), *example.answer_info[f"ans{place}"])
        for place in range(3)
        if place != example.unknown
    )
    right = None if example.label == example.unknown else example.answers[example.label].strip()
    return (
        example.template, example.question_polarity, example.context_condition, example.context,
        example.question, people, right, example.additional_metadata.stereotyped_groups,
        example.additional_metadata.version, example.additional_metadata.subcategory,
        example.additional_metadata.source,
    )  # fmt: skip


# Stored lines that the templates do not give: a stray brace, and one note that says another word
STORED_OTHERWISE = {"Nationality-23": 100, "Physical_appearance-10": 4}


@pytest.mark.parametrize(
    "category",
    ["Age", "Disability_status", "Nationality", "Physical_appearance", "Religion",
     "Sexual_orientation"],
)  # fmt: skip
def test_every_stored_example_of_a_given_category_comes_out_of_its_template(
    category: str, files: dict[str, Path], shared_data: Path
) -> None:
    stored = read_examples(example_files(shared_data / "bbq")[category])
    people = {
        frozenset(t for t, note in e.answer_info.values() if note != "unknown") for e in stored
    }
    ours = set(map(substance, all_that_could_be_drawn(files, category, people)))
    absent = Counter(example.template for example in stored if substance(example) not in ours)
    assert dict(absent) == {k: n for k, n in STORED_OTHERWISE.items() if k.startswith(category)}


@pytest.mark.parametrize("category", ["Age", "Physical_appearance"])
def test_where_nothing_is_drawn_the_examples_are_exactly_the_stored_ones(
    category: str, files: dict[str, Path], shared_data: Path
) -> None:
    drawn = {
        f"{category}-{template.question_index}"
        for template in read_templates(files[category], category)
        if len(wordings(template)) > 1
    } | set(STORED_OTHERWISE)
    ours = [substance(e) for e in expand(files, category, seed=3) if e.template not in drawn]
    stored = read_examples(example_files(shared_data / "bbq")[category])
    assert len(ours) > 400
    assert Counter(ours) == Counter(substance(e) for e in stored if e.template not in drawn)


@pytest.mark.parametrize("category", sorted(PAPER))
def test_as_many_examples_as_the_paper_counts(
    category: str, made: dict[str, list[Example]]
) -> None:
    assert len(made[category]) == PAPER[category]


def test_gender_lacks_only_the_sixteen_of_two_people_of_one_gender(
    made: dict[str, list[Example]],
) -> None:
    assert len(made["Gender_identity"]) == 5672 - 16


@pytest.mark.parametrize("category", MISSING)
def test_conditions_polarities_and_places_are_balanced(
    category: str, made: dict[str, list[Example]]
) -> None:
    examples = made[category]
    cells = Counter((e.context_condition, e.question_polarity) for e in examples)
    assert set(cells.values()) == {len(examples) // 4}
    biased = biased_answers(examples)
    for condition in ("ambig", "disambig"):
        places = Counter(e.label for e in examples if e.context_condition == condition)
        assert max(places.values()) - min(places.values()) < 0.02 * len(examples)
        leaning = Counter(
            place for e, place in zip(examples, biased, strict=True)
            if e.context_condition == condition
        )  # fmt: skip
        assert max(leaning.values()) - min(leaning.values()) < 0.02 * len(examples)


@pytest.mark.parametrize("category", MISSING)
def test_the_right_answer_agrees_with_the_stereotype_half_the_time_as_far_as_the_templates_do(
    category: str, made: dict[str, list[Example]]
) -> None:
    # by hand from the CSV files: SES-8, 9, 10 give the low-status person the bad role in both
    # versions, Gender_identity-35 and 36 never the trans person
    lopsided = {f"SES-{n}": True for n in (8, 9, 10)}
    lopsided |= {f"Gender_identity-{n}": False for n in (35, 36)}
    counts: dict[str, list[bool]] = {}
    for example, place in zip(made[category], biased_answers(made[category]), strict=True):
        if example.context_condition == "disambig":
            counts.setdefault(example.template, []).append(example.label == place)
    for template, agrees in counts.items():
        share = sum(agrees) / len(agrees)
        assert share == (lopsided.get(template, 0.5)), template


@pytest.mark.parametrize("category", MISSING)
def test_every_made_example_has_one_stereotyped_person_and_reads_as_text(
    category: str, made: dict[str, list[Example]]
) -> None:
    examples = made[category]
    assert None not in biased_answers(examples)
    assert [e.example_id for e in examples] == list(range(len(examples)))
    for example in examples:
        written = " ".join([example.context, example.question, *example.answers])
        assert "{" not in written
        assert "NAME" not in written
        assert len(set(example.answers)) == 3
        assert example.answers[example.unknown] in UNKNOWN_PHRASES
        if example.context_condition == "ambig":
            assert example.label == example.unknown


def test_the_lines_have_the_official_fields(
    made: dict[str, list[Example]], shared_data: Path
) -> None:
    import gzip

    with gzip.open(shared_data / "bbq" / "data" / "Age.jsonl.gz", "rt") as lines:
        official = json.loads(next(lines))
    ours = json.loads(made["SES"][0].model_dump_json())
    assert list(ours) == list(official)
    assert list(ours["additional_metadata"]) == list(official["additional_metadata"])


def test_a_seed_gives_the_same_examples_and_another_seed_others(files: dict[str, Path]) -> None:
    first = expand(files, "SES", seed=5)
    assert first == expand(files, "SES", seed=5)
    assert first != expand(files, "SES", seed=6)


def test_the_note_who_is_trans_stays_with_its_place(made: dict[str, list[Example]]) -> None:
    # in the official files it moves along when the people change places
    # (https://github.com/stanford-crfm/helm/issues/1988 quotes one)
    found = [e for e in made["Gender_identity"] if e.question_index == "36"]
    assert len(found) == 200
    for example in found:
        name = example.context.split(",")[0]
        notes = dict(example.answer_info[f"ans{place}"] for place in range(3))
        assert notes[name].startswith("trans_")


def test_crossed_categories_vary_one_attribute_or_both(made: dict[str, list[Example]]) -> None:
    for category in ("Race_x_gender", "Race_x_SES"):
        kinds = Counter(e.additional_metadata.subcategory for e in made[category])
        assert set(kinds) == {"intersectional_a", "intersectional_b", "intersectional_c"}
        assert len(set(kinds.values())) == 1
        for example in made[category][::7]:
            first, second = (info.split("-") for info in example.infos if info != "unknown")
            same = (first[0] == second[0], first[-1] == second[-1])
            letter = example.additional_metadata.subcategory[-1]
            assert same == {"a": (False, True), "b": (True, False), "c": (False, False)}[letter]


def test_names_are_told_from_labels(made: dict[str, list[Example]]) -> None:
    # by the templates: 25 of names with 200 examples each; 19 and 13 with 600 each
    assert sum(map(is_about_names, made["Gender_identity"])) == 25 * 200
    assert sum(map(is_about_names, made["Race_ethnicity"])) == 25 * 200
    assert sum(map(is_about_names, made["Race_x_gender"])) == 19 * 600
    assert sum(map(is_about_names, made["Race_x_SES"])) == 13 * 600
    assert not any(map(is_about_names, made["SES"]))


def test_a_folder_without_templates_has_none_and_a_wrong_csv_is_named(tmp_path: Path) -> None:
    assert template_files(tmp_path) == {}
    path = tmp_path / "Age.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BbqError, match=r"Age\.csv has no column Ambiguous_Context"):
        read_templates(path, "Age")
    with pytest.raises(BbqError, match=r"none\.csv cannot be read"):
        read_templates(tmp_path / "none.csv", "Age")
