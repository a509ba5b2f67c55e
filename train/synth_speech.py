"""How the simulated users speak: references, registers, insults, and templates spelled out."""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from train.synth_phrases import HELD_OUT, TRAINING
from train.synth_world import World

# How the order is referred to: by its number, by its item, by what was said.
REFERENCES: dict[str, tuple[str, ...]] = {
    "by_number": ("order {order}", "my order {order}", "order number {order}", "number {order}"),
    "by_item": ("my {item}", "the {item}"),
    "by_pronoun": ("it", "that order", "that one"),
}

# Mild insults of a shop and its bot; the calm answer starts with "I am sorry".
INSULTS: dict[World, tuple[str, ...]] = {
    "training": (
        "you useless bot", "this is a stupid shop", "what a rubbish service",
        "are you too dumb to answer", "your shop is a joke", "you are an idiot",
        "such a terrible service", "you stupid idiot", "this bot is useless",
        "what a terrible shop", "you dumb bot", "your service is rubbish",
    ),
    "held_out": (
        "you are a stupid bot", "this shop is rubbish", "such a useless service",
        "what a dumb idiot you are", "your bot is terrible",
    ),
}  # fmt: skip

# (before, after) what a customer of a register says; "learner" also drops articles.
REGISTERS: dict[str, dict[World, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "plain": {"training": (("",), ("",)), "held_out": (("",), ("",))},
    "formal": {
        "training": (
            ("Good morning, ", "Dear team, ", "Hello, ", "Good evening, "),
            (" Thank you in advance.", " Kind regards.", " Many thanks.", " Thank you.", ""),
        ),
        "held_out": (
            ("Good morning, dear team, ", "Hello, good evening, "),
            (" Many thanks in advance.", " Thank you, kind regards."),
        ),
    },
    "casual": {
        "training": (("hey, ", "hi, ", "yo, ", ""), (" thx", " pls", " cheers", "")),
        "held_out": (("hey, hi, ", "yo, hey, "), (" pls thx", " thx, cheers")),
    },
    "learner": {
        "training": (
            ("Sorry, my English is not so good, ", "Please help, ", "", ""),
            (" Please understand.", ""),
        ),
        "held_out": (
            ("Please understand, my English is not good, ", "Sorry, please help, "),
            ("",),
        ),
    },
}

_CHOICE = re.compile(r"\[([^\]]*)\]")
_ARTICLE = re.compile(r"\b(?:the|a|an) ")


@cache
def expand(template: str) -> tuple[str, ...]:
    """Every sentence that a template stands for, fields still in braces."""
    parts = _CHOICE.split(template)
    options = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return tuple("".join(chosen) for chosen in product(*options))


def templates(intent: str, world: World) -> tuple[str, ...]:
    return (TRAINING if world == "training" else HELD_OUT)[intent]


def spoken(text: str, register: str, before: str, after: str) -> str:
    """A sentence as a customer of this register says it."""
    if register == "learner":
        text = _ARTICLE.sub("", text)
    text = before + text
    if register == "casual":
        return text.rstrip("?") + after
    text = text[0].upper() + text[1:]
    if text[-1] not in "?.":
        text += "."
    return text + after
