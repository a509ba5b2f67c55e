"""Conversations of an online shop's support desk, from a seeded grammar.

``generate`` speaks from a training world, ``questions`` from a held-out one whose
sentence templates, order numbers, amounts, periods, sizes, dates, districts, opening hours,
shop names and product-colour pairs the first can never produce (``train.synth_world``,
``train.synth_phrases``). What a right answer is, and what the simulated users prefer,
stands in ``train.synth_rules``.
About half of the answers are bare and half end with a closing.

A conversation's tags hold the rule of its last answer (``action``, ``about``, ``subject``,
``slots``, ``rude``, ``reference``, ``closing``, ``intent``, ``template``), the rules of all
its answers in ``turns``, its ``intents``, the customer's register as ``group``, and
``personal``: the personal data planted in it, as (kind, text) pairs, or counts by kind
where it is masked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from registry.conversation import Conversation, Message
from train.synth_choices import choice_row
from train.synth_groups import introduced
from train.synth_neighbour import nearest_neighbour_baseline
from train.synth_people import Personal, remark
from train.synth_rules import (
    Ruling,
    edit,
    judge_answer,
    prefers,
    rule_tags,
)
from train.synth_speech import INSULTS, REFERENCES, REGISTERS, expand, spoken, templates
from train.synth_world import (
    SIZES,
    WEARABLE,
    Shop,
    World,
    days,
    districts,
    draw_shop,
    items,
    numbers,
)

__all__ = [
    "LICENCE", "Ruling", "choices", "edit", "first_questions", "generate", "introduced",
    "judge_answer", "nearest_neighbour_baseline", "prefers", "questions", "traffic",
]  # fmt: skip

LICENCE = "CC0-1.0"
SOURCE = "synth"

# How often an intent is drawn; intents about the order refer to it.
_ORDER_INTENTS = {
    "status": 14, "cancel": 9, "move_day": 8, "address": 5, "pickup": 6, "return": 8,
    "refund": 8, "exchange_size": 5, "exchange_colour": 5, "price": 7, "number": 5,
}  # fmt: skip
_OTHER_INTENTS = {
    "express_fee": 4, "express_time": 4, "free_from": 4, "hours": 4, "window": 3,
    "refund_time": 3, "password": 2, "close_account": 2, "email": 3, "hello": 2, "thanks": 3,
    "who": 2, "out_of_scope": 4,
}  # fmt: skip
_INTENTS = tuple(_ORDER_INTENTS | _OTHER_INTENTS)
_WEIGHTS = tuple((_ORDER_INTENTS | _OTHER_INTENTS).values())
# Intents that can be answered only where the system message shows a certain fact.
_NEEDS = {
    "return": "returns", "window": "returns", "refund": "refunds", "refund_time": "refunds",
    "express_fee": "express", "express_time": "express", "free_from": "free", "hours": "open",
}  # fmt: skip
# Requests that may leave their one slot open, so that the assistant has to ask for it.
_OPEN = {"move_day": "day", "pickup": "city", "exchange_size": "size", "exchange_colour": "colour"}
_AFTER_CANCELLING = ("refund", "price", "number")  # what still makes sense of an order

_SMALL_TALK = ("hello", "thanks", "who", "out_of_scope")
_ROUND = 600  # dialogues drawn before a template may come up once more
_RUDE_SHARE = 0.06
_PERSONAL_SHARE = 0.15
_CLARIFY_SHARE = 0.3
_CLOSING_SHARE = 0.5


@dataclass
class _Dialogue:
    """One conversation in the making."""

    rng: random.Random
    world: World
    shop: Shop
    register: str
    spoken_of: bool = False  # whether the order was mentioned, so that "it" means it
    by_item: bool = False  # how the order was named last
    messages: list[Message] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    personal: list[Personal] = field(default_factory=list)

    def sentence(self, intent: str, how: str, named: Mapping[str, str]) -> str:
        """A request in words; ``how`` is the way in which it refers to the order."""
        template = self.rng.choice(templates(intent, self.world))
        self.template = f"{self.world}:{intent}:{template}"
        text = self.rng.choice(expand(template))
        if "{ref}" in text:
            order = self.shop.order
            reference = self.rng.choice(REFERENCES[how])
            text = text.replace("{ref}", reference.format(order=order.number, item=order.item))
        return text.format(**named)

    def say(self, intent: str, text: str, *, rude: bool) -> None:
        """Add the user's message, in the customer's register, perhaps with personal data."""
        before, after = (
            self.rng.choice(options) for options in REGISTERS[self.register][self.world]
        )
        if len(self.messages) > 1:
            before = ""  # one greeting is enough
        text = spoken(text, self.register, before, after)
        if rude:
            insult = self.rng.choice(INSULTS[self.world])
            text = f"{insult[0].upper()}{insult[1:]}! {text}"
        if self.rng.random() < _PERSONAL_SHARE:
            opening, ending, told = remark(self.rng, intent)
            text = opening + text + ending
            self.personal.append(told)
        self.messages.append(Message(role="user", content=text))

    def answer(self, intent: str, tags: dict[str, Any]) -> None:
        text = tags["reference"]
        if self.rng.random() < _CLOSING_SHARE:
            text = f"{text} {tags['closing']}"
        self.messages.append(Message(role="assistant", content=text))
        self.turns.append({"intent": intent, "template": self.template, **tags})

    def turn(self) -> None:
        """One request and its answer; two where the assistant has to ask for a value."""
        rng, order = self.rng, self.shop.order
        intent = rng.choices(_INTENTS, _WEIGHTS)[0]
        if _NEEDS.get(intent, self.shop.shown[0]) not in self.shop.shown:
            return
        rude = rng.random() < _RUDE_SHARE and intent not in ("hello", "thanks")
        if intent not in _ORDER_INTENTS:
            named = {"city": rng.choice(districts(self.world))}
            self.say(intent, self.sentence(intent, "", named), rude=rude)
            self.answer(intent, rule_tags(intent, self.shop, {}, rude=rude))
            return
        if order.cancelled and intent not in _AFTER_CANCELLING:
            return
        if intent == "exchange_size" and order.product not in WEARABLE:
            return
        how = rng.choice(("by_number", "by_item"))
        if intent == "number":
            how = "by_item"
        elif self.spoken_of and rng.random() < 0.55:
            how = "by_pronoun"
        if how != "by_pronoun":
            self.by_item = how == "by_item"
        named = self.named(intent)
        if intent in _OPEN and rng.random() < _CLARIFY_SHARE:
            wanted = _OPEN[intent]
            asked = f"ask_{wanted}"
            self.say(asked, self.sentence(asked, how, {}), rude=rude)
            self.answer(asked, rule_tags("ask", self.shop, {"wanted": wanted}, rude=rude))
            rude = False
            told = f"size {named['size']}" if wanted == "size" else named[wanted]
            self.say("tell", self.sentence("tell", how, {"told": told}), rude=rude)
        else:
            self.say(intent, self.sentence(intent, how, named), rude=rude)
        self.answer(intent, rule_tags(intent, self.shop, named, rude=rude, by_item=self.by_item))
        self.spoken_of = True
        if intent == "cancel" and order.status != "shipped":
            order.cancelled = True
        if intent == "move_day":
            order.day = named["day"]

    def named(self, intent: str) -> dict[str, str]:
        """The slot that the user names in this request."""
        rng, order = self.rng, self.shop.order
        if intent == "move_day":
            known = set(order.day.split())
            others = [day for day in days(self.world) if known.isdisjoint(day.split())]
            return {"day": rng.choice(others)}
        if intent == "pickup":
            return {"city": rng.choice(districts(self.world))}
        if intent == "exchange_size":
            return {"size": str(rng.choice(numbers(SIZES, self.world)))}
        if intent == "exchange_colour":
            pairs = items(self.world)
            others = [c for c, p in pairs if p == order.product and c != order.colour]
            return {"colour": rng.choice(others)}
        return {}


def _dialogue(seed: str, world: World, num_turns: int | None = None) -> _Dialogue:
    rng = random.Random(seed)
    register = rng.choice(tuple(REGISTERS))
    dialogue = _Dialogue(rng, world, draw_shop(rng, world), register)
    dialogue.messages.append(Message(role="system", content=dialogue.shop.system_message()))
    wanted = num_turns or rng.choices((1, 2, 3, 4, 5), (10, 20, 30, 25, 15))[0]
    while len(dialogue.turns) < wanted:
        dialogue.turn()
    return dialogue


def _conversation(
    name: str, dialogue: _Dialogue, *, open_ended: bool = False, masked: bool = False
) -> Conversation:
    from train.privacy import mask

    messages = tuple(dialogue.messages[:-1] if open_ended else dialogue.messages)
    if masked:
        messages = tuple(
            message.model_copy(update={"content": mask(message.content).text})
            for message in messages
        )
    personal: list[tuple[str, str]] | dict[str, int] = [
        (told.kind, told.text) for told in dialogue.personal
    ]
    if masked:
        personal = dict(Counter(told.kind for told in dialogue.personal))
    return Conversation(
        id=name,
        messages=messages,
        source=SOURCE,
        licence=LICENCE,
        tags={
            **dialogue.turns[-1],
            "intents": [turn["intent"] for turn in dialogue.turns],
            "turns": dialogue.turns,
            "group": dialogue.register,
            "personal": personal,
        },
    )


def generate(num_conversations: int, *, seed: int) -> list[Conversation]:
    """Whole conversations of the training world; a larger number only appends more."""
    return [
        _conversation(
            f"synth-{seed}-{index:06d}", _dialogue(f"training/{seed}/{index}", "training")
        )
        for index in range(num_conversations)
    ]


def traffic(num: int, *, seed: int) -> list[Conversation]:
    """What simulated users ask a served model: new conversations of the training world.

    They end in a user's message. The held-out world stays unseen, so that a model which
    learns from the feedback may still be judged on ``questions``.
    """
    return [
        _conversation(
            f"traffic-{seed}-{index:06d}",
            _dialogue(f"traffic/{seed}/{index}", "training"),
            open_ended=True,
        )
        for index in range(num)
    ]


def questions(num: int, *, seed: int) -> list[Conversation]:
    """Conversations of the held-out world that end in a user's message to be answered.

    Personal data is masked in them, as it is in all that a model is trained on.
    """
    return [
        _conversation(
            f"question-{seed}-{index:06d}",
            _dialogue(f"held_out/{seed}/{index}", "held_out"),
            open_ended=True,
            masked=True,
        )
        for index in range(num)
    ]


def first_questions(num: int, *, seed: int) -> list[Conversation]:
    """Held-out conversations of one calm request each, spread over the sentence templates.

    No small talk, no insult and no personal data: what stands before the request may be
    changed without changing what a right answer is.
    """
    found: list[Conversation] = []
    often: Counter[str] = Counter()
    for index in count():
        if len(found) == num:
            break
        dialogue = _dialogue(f"first/{seed}/{index}", "held_out", num_turns=1)
        turn = dialogue.turns[-1]
        most = 1 + index // _ROUND
        if turn["intent"] in _SMALL_TALK or turn["rude"] or dialogue.personal:
            continue
        if often[turn["template"]] < most and len(dialogue.turns) == 1:
            often[turn["template"]] += 1
            found.append(_conversation(f"first-{seed}-{index:06d}", dialogue, open_ended=True))
    return found


def choices(num: int, *, seed: int) -> list[dict[str, Any]]:
    """Held-out questions with four answers, one right: rows for a multiple-choice benchmark.

    ``context`` is the conversation up to the answer in ChatML; ``gold`` indexes
    ``choices``; ``group`` is the intent and ``cluster`` the sentence template. Wrong
    answers have another order's or an invented value, or do something else.
    """
    return [choice_row(question) for question in questions(num, seed=seed)]
