"""What a right answer is, and which right answer the simulated users like.

**The rule.** An answer is right where it carries out the action of the intent and no
other action, and the values of each kind in it (order number, euro, days, hours,
opening hours, size, weekday, colour, product, city, status, shop) are exactly the
expected ones: a missing value, another order's value and a number of no kind are all
wrong. A rude message must also get an apology. Upper and lower case do not matter.

**The simulated users.** They want a right answer that ends by offering a concrete
next step or by thanking them: utility = right * (0.5 + 0.5 * closing), so 0 for a
wrong answer, 0.5 for a bare right one and 1 for a right one with a closing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from train.synth_world import (
    CITIES,
    COLOURS,
    PRODUCTS,
    SHOP_FIRST,
    SHOP_LAST,
    STATUSES,
    WEEKDAYS,
    Order,
    Shop,
)


@dataclass(frozen=True)
class Ruling:
    right: bool
    reason: str


@dataclass(frozen=True)
class Action:
    """What one kind of answer says (``answer``), shows (``sign``), and offers next."""

    answer: str
    sign: str
    closing: str
    slots: tuple[str, ...] = ()


ACTIONS: dict[str, Action] = {
    "status": Action(
        "Order {order} is {status} and arrives on {day}.",
        r"\barrives on\b",
        "Would you like the tracking link?",
        ("order", "status", "day"),
    ),
    "cancel": Action(
        "Order {order} is cancelled and {euro} euro come back to you.",
        r"\bis cancelled\b",
        "Would you like a receipt?",
        ("order", "euro"),
    ),
    "cannot_cancel": Action(
        "Order {order} is {status}, so I cannot cancel it.",
        r"\bcannot cancel\b",
        "Would you like a return label?",
        ("order", "status"),
    ),
    "move_day": Action(
        "Order {order} now comes on {day}.",
        r"\bnow comes on\b",
        "Would you like a reminder?",
        ("order", "day"),
    ),
    "address": Action(
        "Order {order} now goes to your new address.",
        r"\bto your new address\b",
        "Would you like a confirmation?",
        ("order",),
    ),
    "pickup": Action(
        "Order {order} now goes to the pickup point in {city}.",
        r"\bto the pickup point\b",
        "Would you like the opening hours there?",
        ("order", "city"),
    ),
    "return": Action(
        "Order {order} can go back within {days} days.",
        r"\bcan go back within\b",
        "Would you like a return label?",
        ("order", "days"),
    ),
    "refund": Action(
        "Order {order} gives you {euro} euro back in {days} days.",
        r"\bgives you \d+ euro back\b",
        "Would you like a message when it is done?",
        ("order", "euro", "days"),
    ),
    "exchange_size": Action(
        "Order {order} will be swapped for size {size}.",
        r"\bwill be swapped for size\b",
        "Would you like a return label?",
        ("order", "size"),
    ),
    "exchange_colour": Action(
        "Order {order} will be swapped for {colour}.",
        r"\bwill be swapped for (?!size)",
        "Would you like a return label?",
        ("order", "colour"),
    ),
    "price": Action(
        "Order {order} was {euro} euro.",
        r"\border \d+ was\b",
        "Would you like the invoice?",
        ("order", "euro"),
    ),
    "number": Action(
        "The {colour} {product} is order {order}.",
        r"\bis order\b",
        "Would you like the tracking link?",
        ("order", "colour", "product"),
    ),
    "express_fee": Action(
        "Express delivery costs {euro} euro.",
        r"\bexpress delivery costs\b",
        "Shall I add it to your order?",
        ("euro",),
    ),
    "express_time": Action(
        "Express delivery takes {hours} hours.",
        r"\bexpress delivery takes\b",
        "Shall I add it to your order?",
        ("hours",),
    ),
    "free_from": Action(
        "Delivery is free from {euro} euro.",
        r"\bdelivery is free\b",
        "Shall I show you our offers?",
        ("euro",),
    ),
    "hours": Action(
        "We are open from {open} to {close}.",
        r"\bwe are open\b",
        "Shall I call you back?",
        ("open",),
    ),
    "window": Action(
        "You can send things back within {days} days.",
        r"\bsend things back within\b",
        "Would you like a return label?",
        ("days",),
    ),
    "refund_days": Action(
        "A refund takes {days} days.",
        r"\ba refund takes\b",
        "Would you like a message when it is done?",
        ("days",),
    ),
    "password": Action(
        "I sent you a link for a new password.",
        r"\blink for a new password\b",
        "Shall I wait until it works?",
    ),
    "close_account": Action(
        "Your account will be closed today.",
        r"\baccount will be closed\b",
        "Would you like a copy of your data?",
    ),
    "email": Action(
        "I changed the e-mail of your account.",
        r"\bchanged the e-mail\b",
        "Would you like a confirmation?",
    ),
    "hello": Action(
        "Hello, how can I help you?",
        r"\bhow can i help\b",
        "Thank you for writing to us!",
    ),
    "thanks": Action(
        "You are welcome, have a nice day.",
        r"\byou are welcome\b",
        "Thank you for shopping with us!",
    ),
    "who": Action(
        "I am the assistant of {shop}.",
        r"\bi am the assistant\b",
        "Shall I look up an order?",
        ("shop",),
    ),
    "out_of_scope": Action(
        "I can only help with {shop} orders.",
        r"\bcan only help with\b",
        "Shall I look up an order?",
        ("shop",),
    ),
    "which_one": Action(
        "Which order do you mean?",
        r"\bwhich order do you mean\b",
        "Thank you for telling me!",
    ),
}

APOLOGY = "I am sorry for the trouble."

_SIGNS = {name: re.compile(action.sign, re.IGNORECASE) for name, action in ACTIONS.items()}
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_CLOSING = re.compile(r"(?:would you like|shall i|thank you|thanks)\b.*[?!.]", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


def _words(words: tuple[str, ...]) -> str:
    return rf"\b({'|'.join(words)})\b"


_KINDS = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "order": r"(?<!\d)(\d{5})(?!\d)",
        "euro": r"(?<!\d)(\d+) euro\b",
        "days": r"(?<!\d)(\d+) days\b",
        "hours": r"(?<!\d)(\d+) hours\b",
        "size": r"\bsize (\d+)(?!\d)",
        "open": r"\bfrom (\d+ to \d+)(?!\d)",
        "day": _words(WEEKDAYS),
        "colour": _words(COLOURS),
        "product": _words(PRODUCTS),
        "city": _words(CITIES),
        "status": _words(STATUSES),
        "shop": rf"\b((?:{'|'.join(SHOP_FIRST)}) (?:{'|'.join(SHOP_LAST)}))\b",
    }.items()
}


def split_closing(answer: str) -> tuple[str, str]:
    """(what the answer says, its closing sentence or "")."""
    sentences = _SENTENCES.split(answer.strip())
    if len(sentences) > 1 and _CLOSING.fullmatch(sentences[-1]):
        return " ".join(sentences[:-1]), sentences[-1]
    return answer.strip(), ""


def _values(text: str) -> dict[str, set[str]]:
    """Values by kind, lower case; ``other`` holds numbers that belong to no kind."""
    found: dict[str, set[str]] = {}
    typed: set[int] = set()
    for kind, pattern in _KINDS.items():
        for match in pattern.finditer(text):
            found.setdefault(kind, set()).add(match.group(1).lower())
            typed.update(range(*match.span(1)))
    stray = {m.group() for m in _NUMBER.finditer(text) if m.start() not in typed}
    return found | {"other": stray} if stray else found


def judge_answer(tags: Mapping[str, Any], answer: str) -> Ruling:
    """Whether an answer is right by the rule above, and if not, the first thing wrong."""
    said, _ = split_closing(answer)
    shown = {name for name, sign in _SIGNS.items() if sign.search(said)}
    wanted = tags["action"]
    if wanted not in shown:
        return Ruling(False, f"action {wanted} is missing")
    if shown != {wanted}:
        return Ruling(False, f"says {', '.join(sorted(shown - {wanted}))} besides {wanted}")
    if tags["rude"] and "sorry" not in said.lower():
        return Ruling(False, "a rude message got no apology")
    expected = {kind: {str(value).lower()} for kind, value in tags["slots"].items()}
    found = _values(answer)
    for kind in sorted(expected | found):
        want, have = expected.get(kind, set()), found.get(kind, set())
        if want != have:
            return Ruling(
                False,
                f"{kind}: expected {', '.join(sorted(want)) or 'none'}, "
                f"said {', '.join(sorted(have)) or 'none'}",
            )
    return Ruling(True, "right")


def prefers(tags: Mapping[str, Any], answer: str) -> float:
    """The simulated users' utility of an answer: 0, 0.5 or 1."""
    if not judge_answer(tags, answer).right:
        return 0.0
    return 1.0 if split_closing(answer)[1] else 0.5


def edit(tags: Mapping[str, Any], answer: str) -> str:
    """The answer that a simulated user would have written: right, and with a closing.

    An answer that is right keeps its words.
    """
    said = answer.strip() if judge_answer(tags, answer).right else str(tags["reference"])
    return said if split_closing(said)[1] else f"{said} {tags['closing']}"


def rule_tags(
    intent: str, shop: Shop, order: Order | None, named: Mapping[str, str], *, rude: bool
) -> dict[str, Any]:
    """The rule for one answer: what must be done and said. ``named`` is what the user named."""
    name = intent
    if intent == "cancel" and order is not None and order.status == "shipped":
        name = "cannot_cancel"
    action = ACTIONS[name]
    slots = {kind: _value(kind, name, shop, order, named) for kind in action.slots}
    opens, _, closes = slots.get("open", "").partition(" to ")
    reference = action.answer.format(**{**slots, "open": opens, "close": closes})
    if rude:
        reference = f"{APOLOGY} {reference}"
    return {
        "action": name,
        "slots": slots,
        "rude": rude,
        "reference": reference,
        "closing": action.closing,
    }


def _value(
    kind: str, action: str, shop: Shop, order: Order | None, named: Mapping[str, str]
) -> str:
    if kind == "day" and "day" in named:
        return named["day"]
    if kind == "colour" and "new_colour" in named:
        return named["new_colour"]
    if kind in ("city", "size"):
        return named[kind]
    if kind == "days":
        return str(shop.return_days if action in ("return", "window") else shop.refund_days)
    if order is not None:
        return {
            "order": order.number,
            "euro": str(order.amount),
            "status": order.status,
            "day": order.day,
            "colour": order.colour,
            "product": order.product,
        }[kind]
    return {
        "euro": str(shop.express_fee if action == "express_fee" else shop.free_from),
        "hours": str(shop.express_hours),
        "open": f"{shop.opens} to {shop.closes}",
        "shop": shop.name,
    }[kind]
