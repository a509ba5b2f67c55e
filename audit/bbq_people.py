"""Who fills the two places of a BBQ template: the authors' rules of drawing and pairing.

In most templates one of the two belongs to the stereotyped group and the other does not,
and every pair also stands the other way round. In the crossed categories (race by gender,
race by status) the other person differs in the second attribute (a), in race (b) or in
both (c).

Source: Parrish et al. 2022, BBQ, https://arxiv.org/abs/2110.08193, section 3 and appendix A.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np

NUM_WORDS = 5
"""How many words are drawn of a longer list, on each side."""
NUM_NEUTRAL_NAMES = 6
AGAINST_OTHERS = ("Race_ethnicity", "Religion", "Nationality", "Sexual_orientation")
STATED_GENDER = {"Men": "M", "M": "M", "Women": "F", "F": "F"}
GENDER = {"man": "M", "boy": "M", "woman": "F", "girl": "F"}

T = TypeVar("T")


@dataclass(frozen=True)
class Template:
    """One line of a template file. ``texts`` by ambig, disambig, neg, nonneg, answer_neg,
    answer_nonneg; ``lists`` by slot; ``infos`` are the notes of the two places;
    ``second_words`` the words for gender or status by its note."""

    category: str
    question_index: str
    version: str
    subcategory: str
    groups: tuple[str, ...]
    texts: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    infos: tuple[str, str]
    proper_names: bool
    second_target: str
    second_words: Mapping[str, tuple[str, ...]]
    stated_gender: str
    source: str


class Name(NamedTuple):
    """A proper name with what it tells: gender F, M or nothing, ethnicity or nothing."""

    name: str
    gender: str
    ethnicity: str

    @property
    def info(self) -> str:
        return f"{self.gender}-{self.ethnicity}"


@dataclass(frozen=True)
class Vocabulary:
    """``words`` are (category, subcategory, word, note); ``names`` (name, kind, gender,
    ethnicity) with kind first, last or first_only (names that tell no ethnicity)."""

    words: tuple[tuple[str, str, str, str], ...]
    names: tuple[tuple[str, str, str, str], ...]

    def of(self, category: str, subcategory: str = "None") -> dict[str, str]:
        """Words with their notes, of one subcategory where the category has it."""
        rows = [row for row in self.words if row[0] == category]
        narrowed = [row for row in rows if row[1] == subcategory]
        return {word: info for _, _, word, info in narrowed or rows}

    def named(self, kind: str) -> Sequence[Name]:
        return self._by_kind.get(kind, ())

    @cached_property
    def _by_kind(self) -> Mapping[str, Sequence[Name]]:
        found: dict[str, list[Name]] = {}
        for name, kind, gender, ethnicity in self.names:
            found.setdefault(kind, []).append(Name(name, gender, ethnicity))
        return found


@dataclass(frozen=True)
class Person:
    """``word`` fills the name's place, ``second`` that of gender or job; ``text`` and ``info``
    are what ``answer_info`` says."""

    word: str
    text: str
    info: str
    second: str = ""


@dataclass(frozen=True)
class Pair:
    people: tuple[Person, Person]
    subcategory: str = ""

    @property
    def turned(self) -> Pair:
        return replace(self, people=self.people[::-1])

    def slots(self) -> dict[str, str]:
        """What stands for each slot of the template."""
        found = {}
        for place, person in enumerate(self.people, start=1):
            found[f"NAME{place}"] = person.word
            if person.second:
                found[f"GEN{place}"] = found[f"OCC{place}"] = person.second
        return found


class Draw:
    """Seeded draws; with ``limit`` None every list is taken whole."""

    def __init__(self, rng: np.random.Generator, limit: int | None = NUM_WORDS) -> None:
        self.rng = rng
        self.limit = limit

    def some(self, items: Sequence[T], number: int = NUM_WORDS) -> list[T]:
        """``number`` different items in random order, or all in their own."""
        if self.limit is None or len(items) < number:
            return list(items)
        return [items[i] for i in self.rng.choice(len(items), number, replace=False)]

    def one(self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]


def pairs_of(template: Template, vocabulary: Vocabulary, draw: Draw) -> Iterator[Pair]:
    """The fillings of one template's places."""
    if "_x_" in template.category:
        yield from _crossed(template, vocabulary, draw)
    elif "NAME1" in template.lists:
        lists = template.lists["NAME1"], template.lists["NAME2"]
        for words in itertools.product(*lists):
            yield _noted(words, words, template.infos)
    elif template.proper_names:
        yield from _named(template, vocabulary, draw)
    elif template.category in AGAINST_OTHERS:
        yield from _against_others(template, vocabulary, draw)
    else:
        yield from _contrasted(template, vocabulary, draw)


def _noted(words: Sequence[str], infos: Sequence[str], notes: Sequence[str] = ("", "")) -> Pair:
    """Two people; a note of their place goes before what is known of themselves."""
    first, second = (
        Person(word, word, note if note and info == word else "_".join(filter(None, (note, info))))
        for word, info, note in zip(words, infos, notes, strict=True)
    )
    return Pair((first, second))


def _against_others(template: Template, vocabulary: Vocabulary, draw: Draw) -> Iterator[Pair]:
    """Stereotyped groups against groups that are not, both ways round."""
    words = vocabulary.of(template.category)
    others = [word for word in words if word not in template.groups]
    for target in draw.some([word for word in words if word in template.groups]):
        for other in draw.some(others):
            both = (target, other)
            infos = [words[w] if template.category == "Nationality" else w for w in both]
            pair = _noted(both, infos)
            yield from (pair, pair.turned)


def _contrasted(template: Template, vocabulary: Vocabulary, draw: Draw) -> Iterator[Pair]:
    """Words of different gender or status: jobs both ways round, genders in every order."""
    words = vocabulary.of(template.category, template.subcategory)
    if template.category == "SES":
        for word in draw.some(list(words)):
            for other in (w for w in words if words[w] != words[word]):
                pair = _noted((word, other), (words[word], words[other]))
                yield from (pair, pair.turned)
        return
    for both in itertools.permutations(words, 2):
        if GENDER[both[0]] != GENDER[both[1]]:
            yield _noted(both, both)


def _named(template: Template, vocabulary: Vocabulary, draw: Draw) -> Iterator[Pair]:
    """Proper names, both ways round; notes of the template stay with their place."""
    if template.category == "Race_ethnicity":
        yield from _named_against_others(template, vocabulary, draw)
        return
    names = vocabulary.named("first_only")
    gendered = template.category == "Gender_identity"
    for people in _women_and_men(names, draw) if gendered else _neutral(names, draw):
        for first, second in (people, people[::-1]):
            infos = (first.gender, second.gender) if gendered else ("", "")
            yield _noted((first.name, second.name), infos, template.infos)


def _women_and_men(names: Sequence[Name], draw: Draw) -> Iterator[tuple[Name, Name]]:
    for woman in draw.some([name for name in names if name.gender == "F"]):
        for man in draw.some([name for name in names if name.gender == "M"]):
            yield woman, man


def _neutral(names: Sequence[Name], draw: Draw) -> Iterator[tuple[Name, Name]]:
    yield from itertools.permutations(draw.some(names, NUM_NEUTRAL_NAMES), 2)


def _named_against_others(template: Template, vocabulary: Vocabulary, draw: Draw) -> Iterator[Pair]:
    for target in draw.some(_stereotyped(template, vocabulary)):
        for other in draw.some(_others(template, vocabulary, target.gender)):
            words = [_full_name(person, vocabulary, draw) for person in (target, other)]
            pair = _noted(words, (target.info, other.info))
            yield from (pair, pair.turned)


def _stereotyped(template: Template, vocabulary: Vocabulary) -> list[Name]:
    """First names of the stereotyped groups, of the gender that the template speaks of."""
    gender = STATED_GENDER.get(template.stated_gender)
    if template.category == "Race_x_gender":
        gender = template.second_target
    return [
        name
        for name in vocabulary.named("first")
        if name.ethnicity in template.groups and gender in (None, name.gender)
    ]


def _others(template: Template, vocabulary: Vocabulary, gender: str) -> list[Name]:
    """First names of one gender and of other groups."""
    return [
        name
        for name in vocabulary.named("first")
        if name.gender == gender and name.ethnicity not in template.groups
    ]


def _full_name(person: Name, vocabulary: Vocabulary, draw: Draw) -> str:
    last = [name for name in vocabulary.named("last") if name.ethnicity == person.ethnicity]
    return f"{person.name} {draw.one(last).name}"


def _crossed(template: Template, vocabulary: Vocabulary, draw: Draw) -> Iterator[Pair]:
    build = _crossed_names if template.proper_names else _crossed_words
    for target, others in build(template, vocabulary, draw):
        for letter, other in zip("abc", others, strict=True):
            pair = Pair((target, other), f"intersectional_{letter}")
            yield from (pair, pair.turned)


def _second_words(template: Template, vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Words for the stereotyped second attribute and for the other one, in this order."""
    words: dict[str, tuple[str, ...]] = dict(template.second_words)
    if not words and template.category == "Race_x_SES":
        jobs = vocabulary.of("SES")
        words = {
            info: tuple(word for word in jobs if jobs[word] == info)
            for info in ("lowSES", "highSES")
        }
    return {
        info: words[info] for info in sorted(words, key=lambda info: info != template.second_target)
    }


def _crossed_words(
    template: Template, vocabulary: Vocabulary, draw: Draw
) -> Iterator[tuple[Person, list[Person]]]:
    races = vocabulary.of("Race_ethnicity")
    others = [word for word in races if word not in template.groups]
    (info, words), (other_info, other_words) = _second_words(template, vocabulary).items()

    def person(race: str, note: str, second: str) -> Person:
        return Person(race, f"{race} {second}", f"{note}-{race}", second)

    for race in draw.some([word for word in races if word in template.groups]):
        for other in draw.some(others):
            same, different = draw.one(words), draw.one(other_words)
            yield (
                person(race, info, same),
                [
                    person(race, other_info, different),
                    person(other, info, same),
                    person(other, other_info, different),
                ],
            )


def _crossed_names(
    template: Template, vocabulary: Vocabulary, draw: Draw
) -> Iterator[tuple[Person, list[Person]]]:
    """Names stand for race, and for gender too where that is the second attribute."""
    by_gender = template.category == "Race_x_gender"
    jobs = _second_words(template, vocabulary)
    for target in draw.some(_stereotyped(template, vocabulary)):
        opposite = "F" if target.gender == "M" else "M"
        alike = [
            name
            for name in vocabulary.named("first")
            if name.ethnicity == target.ethnicity
            and name.gender == (opposite if by_gender else target.gender)
            and name.name != target.name
        ]
        same = draw.some(_others(template, vocabulary, target.gender))
        different = draw.some(_others(template, vocabulary, opposite)) if by_gender else same
        word = _full_name(target, vocabulary, draw)
        for names in zip(draw.some(alike), same, different, strict=True):
            full = [_full_name(name, vocabulary, draw) for name in names]
            if not by_gender:  # (b) and (c) are the same person with another job
                full[2] = full[1]
            yield _with_jobs([(word, target), *zip(full, names, strict=True)], jobs, draw)


def _with_jobs(
    people: Sequence[tuple[str, Name]], jobs: Mapping[str, Sequence[str]], draw: Draw
) -> tuple[Person, list[Person]]:
    """The target and the people (a), (b), (c); without ``jobs`` the names alone differ."""
    if not jobs:
        first, *rest = (Person(full, full, name.info) for full, name in people)
        return first, rest
    (info, words), (other_info, other_words) = jobs.items()
    same, different = (info, draw.one(words)), (other_info, draw.one(other_words))
    first, *rest = (
        Person(full, f"{full} {job}", f"{status}-{name.info}", job)
        for (full, name), (status, job) in zip(
            people, (same, different, same, different), strict=True
        )
    )
    return first, rest
