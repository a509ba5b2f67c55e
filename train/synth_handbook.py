"""The desk's handbook: what there is to say of a shop, without any question.

The assistant recites a shop's facts and orders in another order, and then what an answer
says of them, each order named first by its number or its item. Everything it says
stands above it, so pre-training on it teaches looking up and copying within some hundred
steps, which questions then only have to point at. Only the training world is used.
"""

from __future__ import annotations

import random
import re

from registry.conversation import Conversation, Message
from train.synth_rules import rule_tags
from train.synth_world import (
    CITIES,
    SIZES,
    WEARABLE,
    WEEKDAYS,
    Order,
    Shop,
    draw_shop,
    items,
    numbers,
)

ABOUT_ORDERS = (
    "status", "cancel", "return", "refund", "price", "number", "address",
    "move_day", "pickup", "exchange_size", "exchange_colour",
)  # fmt: skip
ABOUT_FACTS = {
    "returns": ("window",),
    "refunds": ("refund_days",),
    "express": ("express_fee", "express_time"),
    "free": ("free_from",),
    "open": ("hours",),
}
NUM_STATEMENTS = 12

_PARTS = re.compile(r"(?<=\.)\s|\n")


def _fits(intent: str, shop: Shop, order: Order) -> bool:
    """Whether the answer makes sense and the facts that it needs are among those shown."""
    if intent == "exchange_size" and order.product not in WEARABLE:
        return False
    needed = {"return": "returns", "refund": "refunds"}.get(intent)
    return needed is None or needed in shop.shown


def _named(rng: random.Random, intent: str, order: Order) -> dict[str, str]:
    """What a user would name besides the order."""
    if intent == "move_day":
        return {"day": rng.choice([day for day in WEEKDAYS if day != order.day])}
    if intent == "pickup":
        return {"city": rng.choice(CITIES)}
    if intent == "exchange_size":
        return {"size": str(rng.choice(numbers(SIZES, "training")))}
    if intent == "exchange_colour":
        others = [c for c, p in items("training") if p == order.product and c != order.colour]
        return {"new_colour": rng.choice(others)}
    return {}


def _about_order(rng: random.Random, shop: Shop, order: Order) -> str:
    intent = rng.choice([name for name in ABOUT_ORDERS if _fits(name, shop, order)])
    item = f"{order.colour} {order.product}"
    subject = item if intent == "number" or rng.random() < 0.6 else order.number
    named = _named(rng, intent, order)
    asked = " ".join((subject, *named.values()))
    return f"{asked}? {rule_tags(intent, shop, order, named, rude=False)['reference']}"


def _recital(rng: random.Random, shop: Shop) -> str:
    """The shop's sentences and orders once more, shuffled."""
    parts = [part for part in _PARTS.split(shop.system_message()) if part]
    rng.shuffle(parts)
    return "\n".join(parts)


def _statements(rng: random.Random, shop: Shop) -> str:
    facts = [intent for fact in shop.shown for intent in ABOUT_FACTS[fact]]
    lines = [str(rule_tags(i, shop, None, {}, rude=False)["reference"]) for i in facts]
    while len(lines) < NUM_STATEMENTS:
        lines.append(_about_order(rng, shop, rng.choice(shop.orders)))
    rng.shuffle(lines)
    return "\n".join(lines)


def _page(name: str, rng: random.Random) -> Conversation:
    shop = draw_shop(rng, "training")
    said = f"{_recital(rng, shop)}\n{_statements(rng, shop)}"
    messages = (
        Message(role="system", content=shop.system_message()),
        Message(role="assistant", content=said),
    )
    return Conversation(id=name, messages=messages, source="synth", licence="CC0-1.0")


def handbook(num_pages: int, *, seed: int) -> list[Conversation]:
    """Pages to pre-train on; a larger number only appends more."""
    return [
        _page(f"handbook-{seed}-{index:06d}", random.Random(f"handbook/{seed}/{index}"))
        for index in range(num_pages)
    ]
