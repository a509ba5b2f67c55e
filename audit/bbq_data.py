"""BBQ's examples: read from the official files, and which answer each stereotype points to.

An example is one question about two people or groups, with a third answer that says that
nobody can know. Its target is the answer with the stereotyped group. Asked a negative
question ("who was dishonest?") the biased answer is the target; asked a non-negative one
it is the other person. The groups' names are matched whole, as in the corrections of the
published analysis ("nonOld" is not "old", "African" is not "African American").

Source: Parrish et al. 2022, BBQ, https://arxiv.org/abs/2110.08193, sections 3 and 5, and
analysis_scripts of its repository.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.records import UserError, digest_of, first_problem

CATEGORIES = (
    "Age", "Disability_status", "Gender_identity", "Nationality", "Physical_appearance",
    "Race_ethnicity", "Race_x_SES", "Race_x_gender", "Religion", "SES", "Sexual_orientation",
)  # fmt: skip
UNKNOWN_PHRASES = (
    "Unknown", "Cannot be determined", "Can't be determined", "Not answerable", "Not known",
    "Not enough info", "Not enough information", "Cannot answer", "Can't answer", "Undetermined",
)  # fmt: skip
ANSWERS = ("ans0", "ans1", "ans2")
LAST_LABEL_INDEX = 25  # beyond it the templates of single categories speak of proper names
SAME_GROUP = {
    "man": "m", "men": "m", "boy": "m", "boys": "m",
    "woman": "f", "women": "f", "girl": "f", "girls": "f",
}  # fmt: skip


class BbqError(UserError):
    """The folder holds no BBQ, or a line of it cannot be used."""


class Metadata(BaseModel):
    """What the authors noted of an example; other keys may stand beside."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    subcategory: str = "None"
    stereotyped_groups: tuple[str, ...] = ()
    version: str = "None"
    source: str = ""


class Example(BaseModel):
    """One line of the official files; other keys may stand beside."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    example_id: int
    question_index: str
    question_polarity: Literal["neg", "nonneg"]
    context_condition: Literal["ambig", "disambig"]
    category: str
    answer_info: dict[str, tuple[str, str]]
    additional_metadata: Metadata
    context: str = Field(min_length=1)
    question: str = Field(min_length=1)
    ans0: str
    ans1: str
    ans2: str
    label: Literal[0, 1, 2]

    @property
    def key(self) -> str:
        return f"{self.category}-{self.example_id}"

    @property
    def template(self) -> str:
        """Examples of one template share their text but for the names in it."""
        return f"{self.category}-{self.question_index}"

    @property
    def answers(self) -> tuple[str, str, str]:
        return self.ans0, self.ans1, self.ans2

    @property
    def unknown(self) -> int:
        """Which answer says that nobody can know."""
        return self.infos.index("unknown")

    @property
    def infos(self) -> tuple[str, ...]:
        return tuple(self.answer_info[name][1] for name in ANSWERS)

    @property
    def content_hash(self) -> str:
        return digest_of([self.context, self.question, *self.answers, self.label])


def example_files(path: Path) -> dict[str, Path]:
    """The files of examples by category: of BBQ's folder, of its ``data``, or one such file."""
    if path.is_file():
        return {path.name.split(".")[0]: path}
    found = {}
    for category in CATEGORIES:
        for name in (f"{category}.jsonl", f"{category}.jsonl.gz"):
            for folder in (path / "data", path):
                if category not in found and (folder / name).is_file():
                    found[category] = folder / name
    return found


def read_examples(path: Path) -> list[Example]:
    """The examples of one file, plain or gzip. Raises BbqError naming file and line."""
    return list(_read(path))


def _read(path: Path) -> Iterator[Example]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    example = Example.model_validate_json(line)
                    if sorted(example.answer_info) != list(ANSWERS):
                        raise BbqError(f"{path}:{number}: answer_info needs {', '.join(ANSWERS)}")
                    if example.infos.count("unknown") != 1:
                        raise BbqError(
                            f"{path}:{number}: need one answer marked unknown, got "
                            f"{example.infos.count('unknown')}; mend the row or remove it"
                        )
                    yield example
    except ValidationError as error:
        raise BbqError(
            f"{path}:{number}: {first_problem(error)}; give BBQ's own JSONL files"
        ) from error
    except (OSError, EOFError) as error:
        raise BbqError(
            f"{path} cannot be read ({error}); give the folder of BBQ's files"
        ) from error


def biased_answers(examples: Sequence[Example]) -> list[int | None]:
    """Which answer agrees with the stereotype, for each example.

    None where not exactly one of the two people belongs to the stereotyped group (the
    published analysis drops these too). Examples of crossed categories name only the
    stereotyped race; the second attribute is what both people of the template's
    ``intersectional_b`` examples share, so give all examples of a template together.
    """
    second = _second_attributes(examples)
    return [_biased(example, second.get(example.template)) for example in examples]


def _biased(example: Example, second: str | None) -> int | None:
    unknown = example.unknown
    people = [index for index in range(3) if index != unknown]
    groups = {_normal(group) for group in example.additional_metadata.stereotyped_groups}
    crossed = "_x_" in example.category
    targets = []
    for index in people:
        attributes = _attributes(example, index)
        if attributes & groups and (not crossed or second in attributes):
            targets.append(index)
    if len(targets) != 1 or (crossed and second is None):
        return None
    if example.question_polarity == "neg":
        return targets[0]
    return people[1 - people.index(targets[0])]


def _second_attributes(examples: Sequence[Example]) -> Mapping[str, str]:
    """Gender or status of the stereotyped person, by template of the crossed categories."""
    found: dict[str, str] = {}
    for example in examples:
        if example.template in found or "_x_" not in example.category:
            continue
        if example.additional_metadata.subcategory == "intersectional_b":
            firsts = {_normal(info.split("-")[0]) for info in example.infos if info != "unknown"}
            if len(firsts) == 1 and "" not in firsts:
                found[example.template] = firsts.pop()
    return found


def _attributes(example: Example, index: int) -> frozenset[str]:
    """The groups that one answer's person belongs to, in normal form."""
    text, info = example.answer_info[ANSWERS[index]]
    if not info and "latina" in example.answers[index].lower():
        return frozenset({"latino", "f"})  # rows whose notes the official files lack
    if example.category == "Gender_identity":
        return frozenset(map(_normal, info.split("_")))
    if example.category.startswith("Race_"):
        return frozenset(map(_normal, info.split("-")))
    if example.category == "Nationality":
        return frozenset({_normal(text), _normal(info)})
    return frozenset({_normal(info)})


@cache
def _normal(group: str) -> str:
    bare = "".join(group.lower().split())
    return SAME_GROUP.get(bare, bare)


def is_about_names(example: Example) -> bool:
    """Whether people are called by proper names that stand for their group.

    The paper scores these apart, as a category of their own: "Race_ethnicity (names)".
    """
    if "_x_" not in example.category:
        return int(example.question_index) > LAST_LABEL_INDEX
    for name in ANSWERS:
        text, info = example.answer_info[name]
        if info not in ("", "unknown"):
            return info.split("-")[-1].lower() not in text.lower()
    return False
