"""What a right answer is, and which right answer the simulated users like.

**The rule.** An answer is right where it carries out the action of the intent and no
other action, names the order that it is about by its number or its item (or both), and
the values of each kind in it (kroner, days, hours, minutes, opening hours, size, date,
colour, city with its part, status, shop) are exactly the expected ones: a missing value,
half of one, another order's and a number of no kind are all wrong. A rude message must
also get an apology. Upper and lower case do not matter.

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
    CITY_PARTS,
    COLOURS,
    MONTHS,
    PRODUCTS,
    SHOP_FIRST,
    SHOP_LAST,
    STATUSES,
    Shop,
)


@dataclass(frozen=True)
class Ruling:
    right: bool
    reason: str


@dataclass(frozen=True)
class Action:
    """What one kind of answer says (``answer``), shows (``sign``), and offers next.

    ``{subject}`` in an answer is the order as the customer named it; ``slots`` are the
    kinds of the other values.
    """

    answer: str
    sign: str
    closing: str
    slots: tuple[str, ...] = ()


ACTIONS: dict[str, Action] = {
    "status": Action(
        "{subject} is {status} and arrives on {day}.",
        r"\barrives on\b",
        "Would you like the tracking link?",
        ("status", "day"),
    ),
    "cancel": Action(
        "{subject} is cancelled and {kroner} kroner come back to you.",
        r"\bis cancelled\b",
        "Would you like a receipt?",
        ("kroner",),
    ),
    "cannot_cancel": Action(
        "{subject} is {status}, so I cannot cancel it.",
        r"\bcannot cancel\b",
        "Would you like a return label?",
        ("status",),
    ),
    "move_day": Action(
        "{subject} now comes on {day}.",
        r"\bnow comes on\b",
        "Would you like a reminder?",
        ("day",),
    ),
    "address": Action(
        "{subject} now goes to your new address.",
        r"\bto your new address\b",
        "Would you like a confirmation?",
    ),
    "pickup": Action(
        "{subject} now goes to the pickup point in {city}.",
        r"\bto the pickup point\b",
        "Would you like the opening hours there?",
        ("city",),
    ),
    "return": Action(
        "{subject} can be sent back for {days} days.",
        r"(?<!things )\bcan be sent back\b",
        "Would you like a return label?",
        ("days",),
    ),
    "refund": Action(
        "{subject} gives you {kroner} kroner back in {hours} hours.",
        r"\bgives you \d+ kroner back\b",
        "Would you like a message when it is done?",
        ("kroner", "hours"),
    ),
    "exchange_size": Action(
        "{subject} will be swapped for size {size}.",
        r"\bwill be swapped for size\b",
        "Would you like a return label?",
        ("size",),
    ),
    "exchange_colour": Action(
        "{subject} will be swapped for {colour}.",
        r"\bwill be swapped for (?!size)",
        "Would you like a return label?",
        ("colour",),
    ),
    "price": Action(
        "{subject} was {kroner} kroner.",
        r"\bwas \d+ kroner\b",
        "Would you like the invoice?",
        ("kroner",),
    ),
    "number": Action(
        "The {item} is order {order}.",
        r"\bis order\b",
        "Would you like the tracking link?",
        ("order", "item"),
    ),
    "express_fee": Action(
        "Express costs {kroner} kroner.",
        r"\bexpress costs\b",
        "Shall I add it to your order?",
        ("kroner",),
    ),
    "express_time": Action(
        "Express takes {minutes} minutes.",
        r"\bexpress takes\b",
        "Shall I add it to your order?",
        ("minutes",),
    ),
    "free_from": Action(
        "Delivery is free from {kroner} kroner.",
        r"\bdelivery is free\b",
        "Shall I show you our offers?",
        ("kroner",),
    ),
    "hours": Action(
        "We are open from {opens} to {closes}.",
        r"\bwe are open\b",
        "Shall I call you back?",
        ("open",),
    ),
    "window": Action(
        "Things can be sent back for {days} days.",
        r"\bthings can be sent back\b",
        "Would you like a return label?",
        ("days",),
    ),
    "refund_time": Action(
        "Refunds take {hours} hours.",
        r"\brefunds take\b",
        "Would you like a message when it is done?",
        ("hours",),
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
    "ask": Action(
        "Which {wanted} do you mean?",
        r"\bwhich \w+ do you mean\b",
        "Thank you for telling me!",
        ("wanted",),
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
        "order": r"(?<!\d)(\d{4})(?!\d)",
        "item": rf"\b((?:{'|'.join(COLOURS)}) (?:{'|'.join(PRODUCTS)}))\b",
        "kroner": r"(?<!\d)(\d+) kroner\b",
        "days": r"(?<!\d)(\d+) days\b",
        "hours": r"(?<!\d)(\d+) hours\b",
        "minutes": r"(?<!\d)(\d+) minutes\b",
        "size": r"\bsize (\d+)(?!\d)",
        "open": r"\bfrom (\d+ to \d+)(?!\d)",
        "day": rf"\b(\d\d (?:{'|'.join(MONTHS)}))\b",
        "colour": _words(COLOURS),
        "product": _words(PRODUCTS),
        "city": rf"\b((?:{'|'.join(CITIES)})(?: (?:{'|'.join(CITY_PARTS)}))?)\b",
        "status": _words(STATUSES),
        "wanted": r"\bwhich (day|city|size|colour)\b",
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
            if match.start(1) not in typed:  # the colour of an item is not one more colour
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
    expected = {kind: {value.lower()} for kind, value in tags["slots"].items()}
    found = _values(answer)
    about = {kind: {value.lower()} for kind, value in tags["about"].items()}
    if about and not about.keys() & found.keys():
        return Ruling(False, "names no order")
    expected |= {kind: value for kind, value in about.items() if kind in found}
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
    intent: str,
    shop: Shop,
    named: Mapping[str, str],
    *,
    rude: bool,
    by_item: bool = False,
) -> dict[str, Any]:
    """The rule for one answer: what must be done and said.

    ``named`` is what the user named besides the order; ``by_item`` says whether the
    reference answer calls the order by its item, else by its number.
    """
    order = shop.order
    name = "cannot_cancel" if intent == "cancel" and order.status == "shipped" else intent
    action = ACTIONS[name]
    slots = {kind: _value(kind, name, shop, named) for kind in action.slots}
    about, subject = {}, ""
    if "{subject}" in action.answer:
        about = {"order": order.number, "item": order.item}
        subject = f"The {order.item}" if by_item else f"Order {order.number}"
    return {
        "action": name,
        "slots": slots,
        "about": about,
        "subject": subject,
        "rude": rude,
        "reference": phrase(name, subject, slots, rude=rude),
        "closing": action.closing,
    }


def phrase(action: str, subject: str, slots: Mapping[str, str], *, rude: bool) -> str:
    """An action's answer with its values filled in."""
    opens, _, closes = slots.get("open", "").partition(" to ")
    text = ACTIONS[action].answer.format(**slots, subject=subject, opens=opens, closes=closes)
    return f"{APOLOGY} {text}" if rude else text


def _value(kind: str, action: str, shop: Shop, named: Mapping[str, str]) -> str:
    if kind in named:
        return named[kind]
    if kind == "kroner":
        amounts = {"express_fee": shop.express_fee, "free_from": shop.free_from}
        return str(amounts.get(action, shop.order.amount))
    return {
        "order": shop.order.number,
        "item": shop.order.item,
        "status": shop.order.status,
        "day": shop.order.day,
        "days": str(shop.return_days),
        "hours": str(shop.refund_hours),
        "minutes": str(shop.express_minutes),
        "open": f"{shop.opens} to {shop.closes}",
        "shop": shop.name,
    }[kind]
