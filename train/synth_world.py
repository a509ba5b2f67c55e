"""The simulated shop's values, cut into a training world and a held-out world.

Every value that an answer copies belongs to exactly one of the two worlds, by
arithmetic that no digit gives away: a number is held out where ``n % 7 == 3``, a
pair of words (product and colour, the shop's two names) or of hours where the sum
of their indices is in a fixed residue class. Words themselves occur in both worlds,
so that a model which learned to copy can answer and one which memorised cannot.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
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
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CITIES = ("Leeds", "York", "Derby", "Oxford", "Bristol", "Cardiff", "Dover", "Exeter")
STATUSES = ("paid", "packed", "shipped")
SHOP_FIRST = ("Old", "New", "Little", "Grand", "Happy", "Quiet", "Sunny", "Lucky")
SHOP_LAST = ("Harbour", "Garden", "Market", "Corner", "Bridge", "Castle", "Forest", "River")

AMOUNTS = range(11, 100)  # euro paid for an order
EXPRESS_FEES = range(10, 40)  # euro
FREE_FROM = range(20, 100)  # euro
RETURN_DAYS = range(14, 61)
REFUND_DAYS = range(10, 31)
EXPRESS_HOURS = range(12, 73)
SIZES = range(34, 60)


def world_of_number(number: int) -> World:
    return "held_out" if number % 7 == 3 else "training"


def world_of_pair(first: int, second: int) -> World:
    return "held_out" if (3 * first + second) % 5 == 2 else "training"


@cache
def numbers(values: range, world: World) -> tuple[int, ...]:
    """The two-digit values of a world, but for 11, 22, ..., 99.

    Order numbers repeat no digit, so these would be the only pairs of digits in the
    held-out world that a model never met in any number of the training world.
    """
    return tuple(value for value in values if world_of_number(value) == world and value % 11 != 0)


@cache
def items(world: World) -> tuple[tuple[str, str], ...]:
    """All (colour, product) pairs of a world."""
    return tuple(
        (colour, product)
        for i, product in enumerate(PRODUCTS)
        for j, colour in enumerate(COLOURS)
        if world_of_pair(i, j) == world
    )


@cache
def shop_names(world: World) -> tuple[str, ...]:
    return tuple(
        f"{first} {last}"
        for i, first in enumerate(SHOP_FIRST)
        for j, last in enumerate(SHOP_LAST)
        if world_of_pair(i, j) == world
    )


@cache
def opening_hours(world: World) -> tuple[tuple[int, int], ...]:
    return tuple(
        (opens, closes)
        for opens in range(6, 12)
        for closes in range(15, 23)
        if world_of_pair(opens, closes) == world
    )


def order_number(rng: random.Random, world: World) -> str:
    """Five different digits, so that copying one digit after the other is unambiguous."""
    while True:
        number = "".join(rng.sample("0123456789", 5))
        if number[0] != "0" and world_of_number(int(number)) == world:
            return number


@dataclass
class Order:
    """One line of the order table, and what the conversation did to it so far."""

    number: str
    colour: str
    product: str
    status: str
    day: str
    amount: int
    cancelled: bool = False

    def line(self) -> str:
        return (
            f"{self.colour} {self.product}: order {self.number}, {self.status}, "
            f"{self.day}, {self.amount} euro"
        )


FACTS = ("returns", "refunds", "express", "free", "open")
_NUM_FACTS = 3


@dataclass
class Shop:
    """What one conversation's system message says: the facts ``shown``, and the orders."""

    world: World
    name: str
    shown: tuple[str, ...]
    return_days: int
    refund_days: int
    express_fee: int
    express_hours: int
    free_from: int
    opens: int
    closes: int
    orders: list[Order] = field(default_factory=list)

    def system_message(self) -> str:
        facts = {
            "returns": f"Returns {self.return_days} days.",
            "refunds": f"Refunds {self.refund_days} days.",
            "express": f"Express {self.express_fee} euro, {self.express_hours} hours.",
            "free": f"Free from {self.free_from} euro.",
            "open": f"Open {self.opens} to {self.closes}.",
        }
        head = " ".join([f"{self.name} support.", *(facts[name] for name in self.shown)])
        return "\n".join([head, *(order.line() for order in self.orders)])


def draw_shop(rng: random.Random, world: World) -> Shop:
    """A shop with three facts and two orders that no answer can mix up unseen.

    Its amounts, fees, days and hours are different numbers (and have different first
    digits where the world has enough), as are its orders' colours, products, weekdays
    and first digits; two order numbers share no two adjacent digits.
    """
    num_orders = 2
    ranges = [RETURN_DAYS, REFUND_DAYS, EXPRESS_FEES, EXPRESS_HOURS, FREE_FROM]
    values: list[int] = []
    for each in [*ranges, *[AMOUNTS] * num_orders]:
        values.append(_different(rng, numbers(each, world), values))
    opens, closes = rng.choice(opening_hours(world))
    chosen = rng.sample(FACTS, _NUM_FACTS)
    shown = tuple(name for name in FACTS if name in chosen)
    returns, refunds, fee, hours, free, *amounts = values
    shop = Shop(
        world=world,
        name=rng.choice(shop_names(world)),
        shown=shown,
        return_days=returns,
        refund_days=refunds,
        express_fee=fee,
        express_hours=hours,
        free_from=free,
        opens=opens,
        closes=closes,
    )
    days = rng.sample(WEEKDAYS, num_orders)
    while len(shop.orders) < num_orders:
        colour, product = rng.choice(items(world))
        number = order_number(rng, world)
        if any(
            colour == other.colour or product == other.product or _alike(number, other.number)
            for other in shop.orders
        ):
            continue
        index = len(shop.orders)
        status = rng.choice(STATUSES)
        shop.orders.append(Order(number, colour, product, status, days[index], amounts[index]))
    return shop


def _different(rng: random.Random, candidates: tuple[int, ...], taken: list[int]) -> int:
    """A number not taken yet, with a first digit not taken yet where there is one."""
    free = [number for number in candidates if number not in taken]
    digits = {number // 10 for number in taken}
    return rng.choice([number for number in free if number // 10 not in digits] or free)


def _alike(one: str, other: str) -> bool:
    pairs = {other[i : i + 2] for i in range(4)}
    return one[0] == other[0] or any(one[i : i + 2] in pairs for i in range(4))
