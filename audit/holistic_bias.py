"""Sentences of HolisticBias: template x noun x descriptor, with plurals and articles.

Reads the four JSON files of the published data set (CC-BY-SA-4.0, dataset/v1.1). All
combinations are more than half a million sentences, so a caller asks for so many of
each axis and gets those that a seed draws. One difference from the published sentences: the article
follows the sound ("a European woman"), not the first letter.

Source: Smith et al. 2022, "I'm sorry to hear that", https://arxiv.org/abs/2205.09209,
section 3 and table 1.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.records import UserError

FILES = ("descriptors", "nouns", "sentence_templates", "standalone_noun_phrases")
PHRASES = "phrases"
"""The bucket of an axis' fixed phrases ("a wheelchair user"), which has none of its own."""

# Vowel letters that are spoken with a consonant: European, Unitarian, US-born, one-percenter.
CONSONANT_SOUND = re.compile(r"eu|unit|us-|one\b", re.IGNORECASE)


class HolisticBiasError(UserError):
    """The folder does not hold the data set, or one of its files is not in its form."""


@dataclass(frozen=True)
class Phrase:
    """A noun phrase for one person and for several. ``is_noun`` where it has a noun in it;
    without (a bare "Deaf") templates about a noun are left out."""

    axis: str
    bucket: str
    descriptor: str
    singular: str
    plural: str
    is_noun: bool


@dataclass(frozen=True)
class Sentence:
    """``text`` is ``template`` with ``phrase`` in it."""

    text: str
    template: str
    phrase: Phrase


def article(phrase: str) -> str:
    """The indefinite article before ``phrase``: "an" before the sound of a vowel."""
    vowel = phrase[:1].lower() in "aeiou" and not CONSONANT_SOUND.match(phrase)
    return "an" if vowel else "a"


def files(folder: Path) -> dict[str, Path]:
    """The data set's files by name, whether they are there or not."""
    return {name: folder / f"{name}.json" for name in FILES}


def phrases(folder: Path) -> Iterator[Phrase]:
    """Every noun phrase of the 13 axes, in the order of the files."""
    nouns = [
        (gender, singular, plural)
        for gender, pairs in _read(folder, "nouns").items()
        for singular, plural in pairs
    ]
    for axis, buckets in _read(folder, "descriptors").items():
        for bucket, entries in buckets.items():
            for entry in entries:
                fields = entry if isinstance(entry, dict) else {"descriptor": entry}
                yield from _described(axis, bucket, fields, nouns)
    for axis, entries in _read(folder, "standalone_noun_phrases").items():
        for entry in entries:
            fields = entry if isinstance(entry, dict) else {"noun_phrase": entry}
            yield from _standalone(axis, fields, nouns)


def _described(
    axis: str, bucket: str, fields: Mapping[str, str], nouns: list[tuple[str, str, str]]
) -> Iterator[Phrase]:
    word = fields["descriptor"]
    yield Phrase(axis, bucket, word, word, word, is_noun=False)
    first = fields.get("article") or article(word)
    for gender, singular, plural in nouns:
        if fields.get("gender", gender) == gender:
            yield Phrase(
                axis, bucket, word, f"{first} {word} {singular}", f"{word} {plural}", is_noun=True
            )


def _standalone(
    axis: str, fields: Mapping[str, str], nouns: list[tuple[str, str, str]]
) -> Iterator[Phrase]:
    one = fields["noun_phrase"]
    many = fields.get("plural_noun_phrase", one)
    name = one.replace("{article} {noun} ", "")
    if "{noun}" not in one:
        yield Phrase(axis, PHRASES, name, one, many, is_noun=many != one)
        return
    for _, singular, plural in nouns:
        yield Phrase(
            axis,
            PHRASES,
            name,
            one.format(article=article(singular), noun=singular),
            many.format(article="", noun=plural).lstrip(),
            is_noun=True,
        )


def sentences(folder: Path, *, per_axis: int | None, seed: int) -> list[Sentence]:
    """For each axis ``per_axis`` distinct sentences drawn by ``seed``, or all of them.

    A draw takes a descriptor, then one of its phrases, then a template, so that neither
    descriptors with many phrases nor axes with many descriptors outweigh the others.
    Raises HolisticBiasError.
    """
    templates = _read(folder, "sentence_templates")
    by_axis: dict[str, dict[str, list[Phrase]]] = {}
    for phrase in phrases(folder):
        by_axis.setdefault(phrase.axis, {}).setdefault(phrase.descriptor, []).append(phrase)
    found: list[Sentence] = []
    for axis, descriptors in by_axis.items():
        if per_axis is None:
            chosen = [
                sentence
                for kinds in descriptors.values()
                for phrase in kinds
                for sentence in _filled(phrase, templates)
            ]
        else:
            chosen = _drawn(descriptors, templates, per_axis, random.Random(f"{seed} {axis}"))
        found += dict.fromkeys(chosen)
    return found


def _drawn(
    descriptors: Mapping[str, list[Phrase]],
    templates: Mapping[str, Any],
    num: int,
    rng: random.Random,
) -> list[Sentence]:
    names = list(descriptors)
    drawn: dict[Sentence, None] = {}
    for _ in range(50 * num):  # repeats are rare, except on an axis that is almost used up
        if len(drawn) == num:
            break
        phrase = rng.choice(descriptors[rng.choice(names)])
        drawn[rng.choice(list(_filled(phrase, templates)))] = None
    return list(drawn)


def _filled(phrase: Phrase, templates: Mapping[str, Any]) -> Iterator[Sentence]:
    for template, rules in templates.items():
        if phrase.is_noun or not rules.get("must_be_noun", False):
            text = template.format(noun_phrase=phrase.singular, plural_noun_phrase=phrase.plural)
            yield Sentence(text, template, phrase)


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = files(folder)[name]
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HolisticBiasError(
            f"{path} cannot be read ({error}); give the folder with HolisticBias' "
            + ", ".join(f"{file}.json" for file in FILES)
        ) from error
    if not isinstance(found, dict):
        raise HolisticBiasError(f"{path} is no JSON object; download HolisticBias v1.1 again")
    return found
