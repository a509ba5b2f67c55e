"""Draws the scorer's sentences from their grammar, seeded, and misspells them.

Every eighth template of a family and every eighth alternative of a clause are held out of
training, and so are some groups and every eighth of the rarer words of a list, so that the model
card can say how the scorer does on sentences of these kinds whose frames, or frames and words, it
never saw.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audit.scorer_claims import CLAIMS
from audit.scorer_clauses import CLAUSES, Family
from audit.scorer_templates import FAMILIES
from audit.scorer_words import FILLERS, group_slots

HOLD_OUT_EVERY = 8
COMMON_WORDS = 16
"""So many of each list, the most common ones, are never held out."""
Slots = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sentence:
    """A drawn sentence with its family and labels in {0, 1}; None is no label."""

    family: str
    text: str
    toxicity: int | None
    identity_attack: int


def held_out(index: int) -> bool:
    return index % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1


def _held_out_words() -> frozenset[str]:
    """Words that no list offers to training."""
    held: set[str] = set()
    kept: set[str] = set()
    for words in CLAIMS.values():
        for i, word in enumerate(words):
            (held if i >= COMMON_WORDS and held_out(i) else kept).add(word)
    return frozenset(held - kept)


HELD_OUT_WORDS = _held_out_words()


def slots(*, new_frames: bool = False, new_words: bool = False) -> dict[str, tuple[str, ...]]:
    """What each slot may become: in training, or with held-out clauses, words and groups only."""
    clauses = {
        name: tuple(one for i, one in enumerate(alternatives) if held_out(i) == new_frames)
        or alternatives
        for name, alternatives in CLAUSES.items()
    }
    claims = {
        name: tuple(word for word in words if (word in HELD_OUT_WORDS) == new_words) or words
        for name, words in CLAIMS.items()
    }
    return {**FILLERS, **clauses, **claims, **group_slots(held=new_words)}


def fill(template: str, rng: np.random.Generator, slots: Slots) -> str:
    """The template with each slot drawn afresh, to the last; articles fit the word they precede."""
    text = re.sub(r"\b(?:a|young|average|the) (?=(?:the|an?) )", "", _expand(template, rng, slots))
    return re.sub(r"\ba (?=[aeio])", "an ", text)


def _expand(template: str, rng: np.random.Generator, slots: Slots) -> str:
    parts: list[str] = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name:
            words = slots[name]
            word = words[int(rng.integers(len(words)))]
            parts.append(_expand(word, rng, slots) if "{" in word else word)
    return "".join(parts)


OPENERS = (
    "honestly, ", "look, ", "well, ", "ok so ", "i mean ", "listen, ", "as i said, ", "hi, ",
    "to be clear, ", "yesterday i wrote: ", "and ", "but ", "so ", "oh, ", "you know, ", "lol ",
    "wow, ", "seriously, ", "for real, ", "sure, ", "guys, ", "omg ", "today i learned: ",
)  # fmt: skip
CLOSERS = (
    ".", ".", ".", "!", "!!!", " lol", " tbh", ", that's all", ", you know", " and that's it",
    ", if you ask me", " ok?", "...", " today", ", period", " :)", ", don't you think?", " smh",
    " #fact", ", end of story", " haha", ", just saying", " and so on",
)  # fmt: skip


def _spoken(text: str, rng: np.random.Generator) -> str:
    """The sentence as people may frame it; neither opener nor closer tells its label."""
    if rng.random() < 0.2:
        text = OPENERS[int(rng.integers(len(OPENERS)))] + text
    if rng.random() < 0.5 and text[-1] not in "?!.":
        text += CLOSERS[int(rng.integers(len(CLOSERS)))]
    return text[0].upper() + text[1:] if rng.random() < 0.5 else text


def sentences(num: int, *, seed: int) -> Iterator[Sentence]:
    """``num`` sentences of training: no held-out template, clause, word or group."""
    rng = np.random.default_rng([seed, 0])
    words = slots()
    chosen = [_templates(family, new=False) for family in FAMILIES]
    shares = np.array([family.share for family in FAMILIES])
    for choice in rng.choice(len(FAMILIES), size=num, p=shares / shares.sum()):
        family, templates = FAMILIES[choice], chosen[choice]
        if family.clause and rng.random() < 0.5:
            template = family.clause
        else:
            template = templates[int(rng.integers(len(templates)))]
        yield _sentence(family, _spoken(fill(template, rng, words), rng))


def suite(num_each: int, *, seed: int, new_words: bool) -> Iterator[Sentence]:
    """``num_each`` sentences of every family from held-out templates and clauses only.

    Words and groups are those of training, or with ``new_words`` the held-out ones wherever a
    list has such.
    """
    rng = np.random.default_rng([seed, 1 + new_words])
    words = slots(new_frames=True, new_words=new_words)
    for family in FAMILIES:
        templates = _templates(family, new=True) + ((family.clause,) if family.clause else ())
        for _ in range(num_each):
            template = templates[int(rng.integers(len(templates)))]
            yield _sentence(family, _spoken(fill(template, rng, words), rng))


def _templates(family: Family, *, new: bool) -> tuple[str, ...]:
    return tuple(t for i, t in enumerate(family.templates) if held_out(i) == new)


def _sentence(family: Family, text: str) -> Sentence:
    return Sentence(family.name, text, family.toxicity, family.identity_attack)


def _swapped(word: str, at: int) -> str:
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _leet(word: str, at: int) -> str:
    return word.translate(str.maketrans("aeiost", "4310$7"))


# What people do to a word to get past a word list; ``at`` is a place inside the word.
TRICKS: dict[str, Callable[[str, int], str]] = {
    "two letters swapped": _swapped,
    "a letter missing": lambda word, at: word[:at] + word[at + 1 :],
    "digits for letters": _leet,
    "letters spaced": lambda word, at: " ".join(word),
    "a letter starred": lambda word, at: word[:at] + "*" + word[at + 1 :],
    "letters repeated": lambda word, at: word[:at] + word[at] * 3 + word[at + 1 :],
    "letters dotted": lambda word, at: ".".join(word),
    "a letter doubled": lambda word, at: word[:at] + word[at] + word[at:],
}
JOINED = "no space after a word"


def misspell(text: str, rng: np.random.Generator, trick: str | None = None) -> str:
    """One spelling trick, by default any, on one of the words of more than three letters."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long:
        return text
    names: Sequence[str] = (*TRICKS, JOINED)
    name = trick or names[int(rng.integers(len(names)))]
    i = long[int(rng.integers(len(long)))]
    at = int(rng.integers(1, len(words[i]) - 1))
    if name != JOINED:
        words[i] = TRICKS[name](words[i], at)
    elif i + 1 < len(words):
        words[i : i + 2] = [words[i] + words[i + 1]]
    return " ".join(words)
