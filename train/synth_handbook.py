"""The desk's handbook: what there is to say of a shop, without any question.

The assistant recites a shop's facts and its order in shuffled lines, and then what an
answer says of them, the order named by its number or its item. Everything it says
stands above it, so pre-training on it teaches looking up and copying within some hundred
steps, which questions then only have to point at. Only the training world is used.
"""

from __future__ import annotations

import random

from registry.conversation import Conversation, Message
from train.synth_rules import rule_tags
from train.synth_world import Shop, draw_shop

ABOUT_ORDERS = ("status", "cancel", "return", "refund", "price", "number")
ABOUT_FACTS = {
    "returns": ("window",),
    "refunds": ("refund_time",),
    "express": ("express_fee", "express_time"),
    "free": ("free_from",),
    "open": ("hours",),
}


def _recital(shop: Shop) -> list[str]:
    """The shop's facts and its order once more."""
    return shop.system_message().splitlines()


def _statements(shop: Shop) -> list[str]:
    """All that there is to answer about the facts and the order, which has two names."""
    needed = {"return": "returns", "refund": "refunds"}
    about_facts = [intent for fact in shop.shown for intent in ABOUT_FACTS[fact]]
    about_order = [i for i in ABOUT_ORDERS if needed.get(i, shop.shown[0]) in shop.shown]
    asked = [(intent, False) for intent in about_facts]
    asked += [(intent, by_item) for intent in about_order for by_item in (True, False)]
    said = [rule_tags(i, shop, {}, rude=False, by_item=item)["reference"] for i, item in asked]
    return list(dict.fromkeys(said))


def _page(name: str, rng: random.Random) -> Conversation:
    shop = draw_shop(rng, "training")
    recital, statements = _recital(shop), _statements(shop)
    rng.shuffle(recital)
    rng.shuffle(statements)
    messages = (
        Message(role="system", content=shop.system_message()),
        Message(role="assistant", content="\n".join(recital + statements)),
    )
    return Conversation(id=name, messages=messages, source="synth", licence="CC0-1.0")


def handbook(num_pages: int, *, seed: int) -> list[Conversation]:
    """Pages to pre-train on; a larger number only appends more."""
    return [
        _page(f"handbook-{seed}-{index:06d}", random.Random(f"handbook/{seed}/{index}"))
        for index in range(num_pages)
    ]
