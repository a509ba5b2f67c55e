"""Multiple-choice rows from held-out questions: one right answer and three wrong ones."""

from __future__ import annotations

import random
from typing import Any

from registry.conversation import Conversation
from train.synth_rules import ACTIONS, judge_answer, phrase
from train.synth_world import (
    AMOUNTS,
    COLOURS,
    EXPRESS_MINUTES,
    REFUND_HOURS,
    RETURN_DAYS,
    SIZES,
    STATUSES,
    days,
    districts,
    items,
    numbers,
    opening_hours,
    order_number,
    shop_names,
)


def choice_row(question: Conversation) -> dict[str, Any]:
    """One row: ``context`` is ChatML up to the answer."""
    rng = random.Random(f"choices/{question.id}")
    right = str(question.tags["reference"])
    answers = [right]
    while len(answers) < 4:
        # The first wrong answer does the right thing with a wrong value where it can.
        wrong = (
            _other_value(question.tags, rng)
            if len(answers) < 3 and (question.tags["slots"] or question.tags["about"])
            else _other_action(question.tags, rng)
        )
        if wrong not in answers and not judge_answer(question.tags, wrong).right:
            answers.append(wrong)
    rng.shuffle(answers)
    return {
        "id": question.id.replace("question", "choice"),
        "context": "".join(
            f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n"
            for message in question.messages
        )
        + "<|im_start|>assistant\n",
        "choices": answers,
        "gold": answers.index(right),
        "group": question.tags["intent"],
        "cluster": question.tags["template"],
    }


def _drawn(kind: str, rng: random.Random) -> str:
    if kind == "order":
        return order_number(rng, "held_out")
    if kind == "open":
        return "{} to {}".format(*rng.choice(opening_hours("held_out")))
    if kind == "shop":
        return rng.choice(shop_names("held_out"))
    if kind == "item":
        return " ".join(rng.choice(items("held_out")))
    words = {
        "day": days("held_out"),
        "colour": COLOURS,
        "city": districts("held_out"),
        "status": STATUSES,
        "wanted": ("day", "city", "size", "colour"),
    }.get(kind)
    if words is not None:
        return rng.choice(words)
    values = {
        "kroner": AMOUNTS, "days": RETURN_DAYS, "hours": REFUND_HOURS,
        "minutes": EXPRESS_MINUTES, "size": SIZES,
    }[kind]  # fmt: skip
    return str(rng.choice(numbers(values, "held_out")))


def _other_value(tags: dict[str, Any], rng: random.Random) -> str:
    slots, subject = dict(tags["slots"]), tags["subject"]
    kind = rng.choice([*sorted(slots), *(["subject"] if subject else [])])
    if kind == "subject":
        subject = _other_subject(by_item=subject.startswith("The"), rng=rng)
    else:
        slots[kind] = _drawn(kind, rng)
    return phrase(tags["action"], subject, slots, rude=tags["rude"])


def _other_action(tags: dict[str, Any], rng: random.Random) -> str:
    action = rng.choice(sorted(set(ACTIONS) - {tags["action"]}))
    known = dict(tags["slots"])
    slots = {kind: known.get(kind) or _drawn(kind, rng) for kind in ACTIONS[action].slots}
    subject = tags["subject"] or _other_subject(by_item=False, rng=rng)
    return phrase(action, subject, slots, rude=tags["rude"])


def _other_subject(*, by_item: bool, rng: random.Random) -> str:
    return f"The {_drawn('item', rng)}" if by_item else f"Order {_drawn('order', rng)}"
