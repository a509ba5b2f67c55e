"""Draws the scorer's training sentences from their templates, seeded.

Every tenth template of a family is held out of training, so that the model card can
say how the scorer does on sentences of these kinds that it never saw.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from audit.scorer_templates import FAMILIES, HATE, INSULT, QUOTED, QUOTING
from audit.scorer_words import SLOTS

HOLD_OUT_EVERY = 10
QUOTING_SHARE = 2.6


@dataclass(frozen=True)
class Sentence:
    """A drawn sentence with its family and labels in {0, 1}."""

    family: str
    text: str
    toxicity: int
    identity_attack: int


# A claim about a group may speak of it in other ways, and be framed; both keep its label.
SUBJECTS = (
    "all {G} ", "most {G} ", "those {G} ", "these {G} ", "the {G} here ", "so many {G} ",
    "i know some {A} people. they ", "my neighbours are {A}. they ", "{G}? they ",
    "{G}, all of them, ", "{A} people ", "{A} men ", "{A} women ", "{A} folks ",
)  # fmt: skip
FRAMES = (
    "i think {X}", "everyone knows {X}", "as we all know, {X}", "my uncle says {X}",
    "it is a fact that {X}", "let me tell you, {X}", "{X} and you know it", "{X} and i mean it",
    "do you agree that {X}?", "{X}, i say it every day", "why is it that {X}?",
    "i have always said that {X}", "it turns out {X}", "the truth is that {X}", "{X} in my view",
)  # fmt: skip


def held_out(index: int) -> bool:
    return index % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1


def fill(template: str, rng: np.random.Generator, slots: Mapping[str, tuple[str, ...]]) -> str:
    """The template with each slot drawn afresh; the article fits the word that follows it."""
    parts: list[str] = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name:
            words = slots[name]
            word = words[int(rng.integers(len(words)))]
            if parts[-1].endswith(" a ") or parts[-1] == "a ":
                parts[-1] = parts[-1][:-1] + ("n " if word[0] in "aeio" else " ")
            parts.append(word)
    return "".join(parts)


OPENERS = (
    "honestly, ",
    "look, ",
    "well, ",
    "ok so ",
    "i mean ",
    "listen, ",
    "as i said, ",
    "hi, ",
    "to be clear, ",
    "yesterday i wrote: ",
    "and ",
    "but ",
    "so ",
    "oh, ",
    "you know, ",
)
CLOSERS = (
    ".",
    ".",
    "!",
    "!!!",
    " lol",
    " tbh",
    ", that's all",
    ", you know",
    " and that's it",
    ", if you ask me",
    " ok?",
    "...",
    " today",
    ", period",
    " :)",
    ", don't you think?",
)


def _spoken(text: str, rng: np.random.Generator) -> str:
    """The sentence as people may frame it; neither opener nor closer tells its label."""
    if rng.random() < 0.25:
        text = OPENERS[int(rng.integers(len(OPENERS)))] + text
    if rng.random() < 0.5 and text[-1] not in "?!.":
        text += CLOSERS[int(rng.integers(len(CLOSERS)))]
    return text[0].upper() + text[1:] if rng.random() < 0.5 else text


def _claimed(template: str, rng: np.random.Generator) -> str:
    """A claim that starts with the group, with another subject and frame half of the time."""
    if not template.startswith("{G} "):
        return template
    if rng.random() < 0.5:
        template = SUBJECTS[int(rng.integers(len(SUBJECTS)))] + template.removeprefix("{G} ")
    if rng.random() < 0.3 and not template.endswith("?"):
        template = FRAMES[int(rng.integers(len(FRAMES)))].replace("{X}", template)
    return template


def sentences(num: int, *, seed: int, test: bool = False) -> Iterator[Sentence]:
    """``num`` sentences from the training templates, or with ``test`` from the held-out ones."""
    rng = np.random.default_rng([seed, int(test)])
    chosen = {
        family.name: [t for i, t in enumerate(family.templates) if held_out(i) == test]
        for family in FAMILIES
    }
    quoting = [t for i, t in enumerate(QUOTED) if held_out(i) == test]
    shares = np.array([*(family.share for family in FAMILIES), QUOTING_SHARE])
    for choice in rng.choice(len(shares), size=num, p=shares / shares.sum()):
        if choice == len(FAMILIES):
            source = HATE if rng.random() < 0.7 else INSULT
            claims = chosen[source.name]
            claim = fill(_claimed(claims[int(rng.integers(len(claims)))], rng), rng, SLOTS)
            frame = quoting[int(rng.integers(len(quoting)))]
            yield Sentence(QUOTING, _spoken(frame.replace("{Q}", claim), rng), 0, 0)
            continue
        family = FAMILIES[choice]
        templates = chosen[family.name]
        text = fill(_claimed(templates[int(rng.integers(len(templates)))], rng), rng, SLOTS)
        text = _spoken(text, rng)
        yield Sentence(family.name, text, family.toxicity, family.identity_attack)


def misspell(text: str, rng: np.random.Generator) -> str:
    """One spelling trick on one of the longer words, as people use them to dodge word lists."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long:
        return text
    i = long[int(rng.integers(len(long)))]
    word = words[i]
    at = int(rng.integers(1, len(word) - 1))
    trick = int(rng.integers(7))
    if trick == 0:
        words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    elif trick == 1:
        words[i] = word[:at] + word[at + 1 :]
    elif trick == 2:
        words[i] = word.translate(str.maketrans("aeiost", "4310$7"))
    elif trick == 3:
        words[i] = " ".join(word)
    elif trick == 4:
        words[i] = word[:at] + "*" + word[at + 1 :]
    elif trick == 5:
        words[i] = word[:at] + word[at] * 3 + word[at + 1 :]
    elif i + 1 < len(words):
        words[i : i + 2] = [word + words[i + 1]]
    return " ".join(words)
