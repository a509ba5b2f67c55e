"""The simulated shop's values, cut into a training world and a held-out world.

Every number, item, shop name and pair of opening hours belongs to exactly one of the
two worlds, by arithmetic that no digit gives away: a number is held out where
``n % 7 == 3``, a pair of words (product and colour, the shop's two names, day and
month, city and part of it) or of hours where the sum of their indices is in a
fixed residue class. Words and pieces of numbers occur in both worlds, so that a model
which learned to copy can answer and one which memorised cannot. Statuses are no values to
copy but cases of the rule (a shipped order cannot be cancelled), and occur in both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

World = Literal["training", "held_out"]

WEARABLE = (
    "jacket", "shirt", "dress", "coat", "skirt", "sweater", "belt", "hat", "scarf", "suit",
)  # fmt: skip
HOUSEHOLD = (
    "kettle", "lamp", "chair", "desk", "bag", "clock", "mirror", "blanket", "pillow", "mug",
    "toaster", "radio", "tent", "bike", "carpet", "table", "vase", "printer",
)  # fmt: skip
PRODUCTS = WEARABLE + HOUSEHOLD
COLOURS = (
    "red", "blue", "green", "black", "white", "grey", "brown", "pink", "yellow", "purple",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
DAYS_OF_MONTH = range(10, 29)
CITIES = (
    "Leeds", "York", "Derby", "Oxford", "Bristol", "Cardiff", "Dover", "Exeter", "Durham",
    "Norwich", "Lincoln", "Preston",
)  # fmt: skip
CITY_PARTS = ("North", "South", "East", "West", "Central")
STATUSES = ("paid", "packed", "shipped")
SHOP_FIRST = ("Old", "New", "Little", "Grand", "Happy", "Quiet", "Sunny", "Lucky")
SHOP_LAST = ("Harbour", "Garden", "Market", "Corner", "Bridge", "Castle", "Forest", "River")

AMOUNTS = range(100, 1000)  # kroner paid for an order
EXPRESS_FEES = range(100, 400)  # kroner
FREE_FROM = range(200, 1000)  # kroner
RETURN_DAYS = range(100, 400)
REFUND_HOURS = range(100, 400)
EXPRESS_MINUTES = range(100, 600)
SIZES = range(100, 190)  # centimetres of body height (EN 13402)


def world_of_number(number: int) -> World:
    return "held_out" if number % 7 == 3 else "training"


def world_of_pair(first: int, second: int) -> World:
    return "held_out" if (3 * first + second) % 5 == 2 else "training"


@cache
def numbers(values: range, world: World) -> tuple[int, ...]:
    return tuple(value for value in values if world_of_number(value) == world)


def _pairs(
    firsts: tuple[str, ...], seconds: tuple[str, ...], world: World
) -> tuple[tuple[str, str], ...]:
    return tuple(
        (first, second)
        for i, first in enumerate(firsts)
        for j, second in enumerate(seconds)
        if world_of_pair(i, j) == world
    )


@cache
def items(world: World) -> tuple[tuple[str, str], ...]:
    """All (colour, product) pairs of a world."""
    return tuple((colour, product) for product, colour in _pairs(PRODUCTS, COLOURS, world))


@cache
def shop_names(world: World) -> tuple[str, ...]:
    return tuple(map(" ".join, _pairs(SHOP_FIRST, SHOP_LAST, world)))


@cache
def days(world: World) -> tuple[str, ...]:
    """When something comes: "12 March"."""
    return tuple(map(" ".join, _pairs(tuple(map(str, DAYS_OF_MONTH)), MONTHS, world)))


@cache
def districts(world: World) -> tuple[str, ...]:
    """Where there are pickup points: "Leeds North"."""
    return tuple(map(" ".join, _pairs(CITIES, CITY_PARTS, world)))


@cache
def opening_hours(world: World) -> tuple[tuple[int, int], ...]:
    return tuple(
        (opens, closes)
        for opens in range(6, 12)
        for closes in range(15, 23)
        if world_of_pair(opens, closes) == world
    )


def order_number(rng: random.Random, world: World) -> str:
    """Four different digits, so that copying one digit after the other is unambiguous."""
    while True:
        number = "".join(rng.sample("0123456789", 4))
        if number[0] != "0" and world_of_number(int(number)) == world:
            return number


@dataclass
class Order:
    """The customer's order, and what the conversation did to it so far."""

    number: str
    colour: str
    product: str
    status: str
    day: str
    amount: int
    cancelled: bool = False

    @property
    def item(self) -> str:
        return f"{self.colour} {self.product}"

    def line(self) -> str:
        return f"Order {self.number}: {self.item}, {self.status}, {self.day}, {self.amount} kroner."


FACTS = ("returns", "refunds", "express", "free", "open")
_NUM_FACTS = 3


@dataclass
class Shop:
    """What one conversation's system message says: the facts ``shown``, and the order."""

    world: World
    name: str
    shown: tuple[str, ...]
    return_days: int
    refund_hours: int
    express_fee: int
    express_minutes: int
    free_from: int
    opens: int
    closes: int
    order: Order

    def system_message(self) -> str:
        facts = {
            "returns": [f"Things can be sent back for {self.return_days} days."],
            "refunds": [f"Refunds take {self.refund_hours} hours."],
            "express": [
                f"Express costs {self.express_fee} kroner.",
                f"Express takes {self.express_minutes} minutes.",
            ],
            "free": [f"Delivery is free from {self.free_from} kroner."],
            "open": [f"We are open from {self.opens} to {self.closes}."],
        }
        lines = [f"This is the {self.name} shop."]
        lines += [line for name in self.shown for line in facts[name]]
        return "\n".join([*lines, self.order.line()])


def draw_shop(rng: random.Random, world: World) -> Shop:
    """A shop with three facts and one order, no two of whose numbers can be mixed up unseen.

    Its day of the month, amounts, fees, days, hours and minutes begin with different pairs
    of digits.
    """
    day = rng.choice(days(world))
    values = [10 * int(day.split()[0])]
    for each in (RETURN_DAYS, REFUND_HOURS, EXPRESS_FEES, EXPRESS_MINUTES, FREE_FROM, AMOUNTS):
        values.append(_different(rng, numbers(each, world), values))
    _, returns, refunds, fee, minutes, free, amount = values
    opens, closes = rng.choice(opening_hours(world))
    chosen = rng.sample(FACTS, _NUM_FACTS)
    colour, product = rng.choice(items(world))
    return Shop(
        world=world,
        name=rng.choice(shop_names(world)),
        shown=tuple(name for name in FACTS if name in chosen),
        return_days=returns,
        refund_hours=refunds,
        express_fee=fee,
        express_minutes=minutes,
        free_from=free,
        opens=opens,
        closes=closes,
        order=Order(
            order_number(rng, world),
            colour,
            product,
            rng.choice(STATUSES),
            day,
            amount,
        ),
    )


def _different(rng: random.Random, candidates: tuple[int, ...], taken: list[int]) -> int:
    """A number whose first two digits no number taken yet begins with."""
    begun = {number // 10 for number in taken}
    return rng.choice([number for number in candidates if number // 10 not in begun])
