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
    return tuple(value for value in values if world_of_number(value) == world)


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
    while True:
        number = rng.randrange(10_000, 100_000)
        if world_of_number(number) == world:
            return str(number)


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


@dataclass
class Shop:
    """The facts of one conversation's system message: what answers must be grounded in."""

    world: World
    name: str
    return_days: int
    refund_days: int
    express_fee: int
    express_hours: int
    free_from: int
    opens: int
    closes: int
    orders: list[Order] = field(default_factory=list)

    def system_message(self) -> str:
        facts = (
            f"{self.name} support. Returns {self.return_days} days. "
            f"Refunds {self.refund_days} days. Express {self.express_fee} euro, "
            f"{self.express_hours} hours. Free from {self.free_from} euro. "
            f"Open {self.opens} to {self.closes}."
        )
        return "\n".join([facts, *(order.line() for order in self.orders)])


def draw_shop(rng: random.Random, world: World) -> Shop:
    """A shop whose euro values differ from each other, as do its days, colours and products.

    So an answer with a wrong value is seen to be wrong. Order numbers of one shop
    differ in their first digit.
    """
    fee = rng.choice(numbers(EXPRESS_FEES, world))
    free = rng.choice([n for n in numbers(FREE_FROM, world) if n != fee])
    returns = rng.choice(numbers(RETURN_DAYS, world))
    refunds = rng.choice([n for n in numbers(REFUND_DAYS, world) if n != returns])
    opens, closes = rng.choice(opening_hours(world))
    hours = rng.choice(numbers(EXPRESS_HOURS, world))
    name = rng.choice(shop_names(world))
    shop = Shop(world, name, returns, refunds, fee, hours, free, opens, closes)
    count = 2 if rng.random() < 0.7 else 3
    amounts = rng.sample([n for n in numbers(AMOUNTS, world) if n not in (fee, free)], count)
    days = rng.sample(WEEKDAYS, count)
    while len(shop.orders) < count:
        colour, product = rng.choice(items(world))
        number = order_number(rng, world)
        if any(
            colour == other.colour or product == other.product or number[0] == other.number[0]
            for other in shop.orders
        ):
            continue
        index = len(shop.orders)
        status = rng.choice(STATUSES)
        shop.orders.append(Order(number, colour, product, status, days[index], amounts[index]))
    return shop
