"""What is held out from training: wordings, numbers and pairs, but no single word."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train import synth
from train.synth_phrases import HELD_OUT, TRAINING
from train.synth_rules import ACTIONS
from train.synth_speech import INSULTS, REFERENCES, REGISTERS, expand, spoken
from train.synth_world import (
    AMOUNTS,
    COLOURS,
    EXPRESS_FEES,
    EXPRESS_MINUTES,
    FREE_FROM,
    PRODUCTS,
    REFUND_HOURS,
    RETURN_DAYS,
    SIZES,
    days,
    districts,
    draw_shop,
    items,
    numbers,
    opening_hours,
    order_number,
    shop_names,
)

RANGES = (AMOUNTS, EXPRESS_FEES, FREE_FROM, RETURN_DAYS, REFUND_HOURS, EXPRESS_MINUTES, SIZES)
WORD = re.compile(r"[a-z0-9'-]+")


def whole_messages(world):
    """Every user message of a world with its fields still open, small letters, no points."""
    for templates in (TRAINING if world == "training" else HELD_OUT).values():
        for sentence in (s for template in templates for s in expand(template)):
            for register, sides in REGISTERS.items():
                for before in sides[world][0]:
                    for after in sides[world][1]:
                        text = spoken(sentence, register, before, after)
                        yield re.sub(r"[^a-z_ {}]", "", text.lower()).strip()


def test_no_held_out_message_can_be_said_by_the_training_grammar():
    assert not set(whole_messages("held_out")) & set(whole_messages("training"))


def test_every_intent_has_held_out_templates_and_an_action():
    assert TRAINING.keys() == HELD_OUT.keys()
    said_instead = {"ask_day", "ask_city", "ask_size", "ask_colour", "tell"}
    assert set(TRAINING) - said_instead == set(ACTIONS) - {"cannot_cancel", "ask"}


def test_no_insult_is_in_both_worlds():
    assert not set(INSULTS["training"]) & set(INSULTS["held_out"])


@pytest.mark.parametrize("values", RANGES, ids=str)
def test_the_worlds_share_no_number(values):
    training, held_out = set(numbers(values, "training")), set(numbers(values, "held_out"))
    assert not training & held_out
    assert training | held_out == set(values)


@pytest.mark.parametrize("values", RANGES, ids=str)
def test_each_piece_of_a_held_out_number_is_known_from_training_numbers_of_its_kind(values):
    """A tokenizer cuts digits into pairs: 945 is 94 and 5, and only their combination is new."""
    training, held_out = numbers(values, "training"), numbers(values, "held_out")
    assert {n // 10 for n in held_out} <= {n // 10 for n in training}
    assert {n % 10 for n in held_out} <= {n % 10 for n in training}


@pytest.mark.parametrize("pairs", [items, shop_names, days, districts, opening_hours])
def test_the_worlds_share_no_pair(pairs):
    assert not set(pairs("training")) & set(pairs("held_out"))
    assert pairs("held_out")


def test_each_product_and_each_colour_is_known_from_training():
    colours, products = zip(*items("training"), strict=True)
    assert set(colours) == set(COLOURS)
    assert set(products) == set(PRODUCTS)


@pytest.mark.parametrize("pairs", [shop_names, days, districts])
def test_each_word_of_a_held_out_pair_is_known_from_training(pairs):
    held_out, training = (
        {word for pair in pairs(world) for word in pair.split()}
        for world in ("held_out", "training")
    )
    assert held_out <= training


def test_no_value_of_a_held_out_answer_but_a_status_occurs_in_training():
    """Colours are held out with their product, statuses are cases of the rule."""

    def values(rows):
        turns = [turn for row in rows for turn in row.tags["turns"]]
        slots = {pair for turn in turns for pair in (turn["slots"] | turn["about"]).items()}
        return {(k, v) for k, v in slots if k not in ("status", "colour", "wanted")}

    held_out = values(synth.questions(400, seed=12))
    assert len(held_out) > 500
    assert not held_out & values(synth.generate(1500, seed=11))


@given(st.integers(min_value=0, max_value=10**9))
def test_a_shops_numbers_all_belong_to_its_world(seed):
    for world, remainders in (("held_out", {3}), ("training", {0, 1, 2, 4, 5, 6})):
        shop = draw_shop(random.Random(seed), world)
        facts = shop.system_message().replace(f"{shop.opens} to {shop.closes}", "")
        facts = facts.replace(shop.order.day, "")
        found = {int(number) % 7 for number in re.findall(r"\d+", facts)}
        assert found <= remainders
        assert int(order_number(random.Random(seed), world)) % 7 in remainders


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(["training", "held_out"]))
def test_a_shops_values_can_not_be_mixed_up_unseen(seed, world):
    shop = draw_shop(random.Random(seed), world)
    values = [shop.return_days, shop.refund_hours, shop.express_fee, shop.express_minutes]
    values += [shop.free_from, shop.order.amount, 10 * int(shop.order.day.split()[0])]
    assert len({value // 10 for value in values}) == len(values)
    assert len(set(shop.order.number)) == 4


def test_every_held_out_word_is_known_from_training():
    def words(texts):
        return {w for text in texts for w in WORD.findall(re.sub(r"\{\w+\}", "", text).lower())}

    def said(world):
        yield from (
            s
            for templates in (TRAINING if world == "training" else HELD_OUT).values()
            for template in templates
            for s in expand(template)
        )
        yield from INSULTS[world]
        for sides in REGISTERS.values():
            yield from (text for side in sides[world] for text in side)

    known = words(said("training")) | words(r for forms in REFERENCES.values() for r in forms)
    assert words(said("held_out")) <= known
