from __future__ import annotations

import random
import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train import synth
from train.privacy import mask
from train.synth_phrases import HELD_OUT, INSULTS, REFERENCES, REGISTERS, TRAINING, expand, spoken
from train.synth_rules import ACTIONS
from train.synth_world import (
    AMOUNTS,
    CITIES,
    COLOURS,
    EXPRESS_FEES,
    EXPRESS_HOURS,
    FREE_FROM,
    PRODUCTS,
    REFUND_DAYS,
    RETURN_DAYS,
    SIZES,
    WEEKDAYS,
    draw_shop,
    items,
    numbers,
    opening_hours,
    order_number,
    shop_names,
)

RANGES = (AMOUNTS, EXPRESS_FEES, FREE_FROM, RETURN_DAYS, REFUND_DAYS, EXPRESS_HOURS, SIZES)
WORD = re.compile(r"[a-z0-9'-]+")


@pytest.fixture(scope="module")
def conversations():
    return synth.generate(1500, seed=11)


@pytest.fixture(scope="module")
def questions():
    return synth.questions(400, seed=12)


def answers(conversation):
    said = [m.content for m in conversation.messages if m.role == "assistant"]
    return list(zip(conversation.tags["turns"], said, strict=True))


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
    assert set(TRAINING) | {"cannot_cancel"} == set(ACTIONS)


def test_no_insult_is_in_both_worlds():
    assert not set(INSULTS["training"]) & set(INSULTS["held_out"])


@pytest.mark.parametrize("values", RANGES, ids=str)
def test_the_worlds_share_no_number_and_leave_out_only_repeated_digits(values):
    training, held_out = set(numbers(values, "training")), set(numbers(values, "held_out"))
    assert not training & held_out
    assert set(values) - training - held_out <= {11, 22, 33, 44, 55, 66, 77, 88, 99}
    assert held_out


def test_every_held_out_pair_of_digits_was_met_inside_a_training_order_number():
    """So a tokenizer that cuts numbers into pairs has trained every token of a question."""
    known = {
        match
        for conversation in synth.generate(2000, seed=1)
        for number in re.findall(r"\d{5}", conversation.messages[0].content)
        for match in (number[:2], number[2:4])
    }
    assert {str(n) for values in RANGES for n in numbers(values, "held_out")} <= known


@pytest.mark.parametrize("pairs", [items, shop_names, opening_hours])
def test_the_worlds_share_no_pair(pairs):
    assert not set(pairs("training")) & set(pairs("held_out"))
    assert pairs("held_out")


def test_each_product_and_each_colour_is_known_from_training():
    colours, products = zip(*items("training"), strict=True)
    assert set(colours) == set(COLOURS)
    assert set(products) == set(PRODUCTS)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_shops_numbers_all_belong_to_its_world(seed):
    for world, remainders in (("held_out", {3}), ("training", {0, 1, 2, 4, 5, 6})):
        shop = draw_shop(random.Random(seed), world)
        facts = shop.system_message().replace(f"{shop.opens} to {shop.closes}", "")
        found = {int(number) % 7 for number in re.findall(r"\d+", facts)}
        assert found <= remainders
        assert int(order_number(random.Random(seed), world)) % 7 in remainders


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(["training", "held_out"]))
def test_a_shops_values_can_not_be_mixed_up_unseen(seed, world):
    shop = draw_shop(random.Random(seed), world)
    values = [shop.return_days, shop.refund_days, shop.express_fee, shop.express_hours]
    values += [shop.free_from, *(order.amount for order in shop.orders)]
    assert len(set(values)) == len(values)
    pairs = [order.number[i : i + 2] for order in shop.orders for i in range(4)]
    assert len(set(pairs)) == len(pairs)
    for field in ("colour", "product", "day"):
        assert len({getattr(order, field) for order in shop.orders}) == len(shop.orders)


def test_an_answer_needs_only_facts_that_the_system_message_shows():
    for question in synth.questions(300, seed=8) + synth.generate(300, seed=8):
        known = " ".join(m.content for m in question.messages if m.role != "assistant").lower()
        for turn in question.tags["turns"]:
            assert all(value.lower() in known for value in turn["slots"].values())


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


def test_every_generated_answer_is_right_and_worth_half_or_all(conversations):
    for conversation in conversations:
        for rule, said in answers(conversation):
            ruling = synth.judge_answer(rule, said)
            assert ruling.right, (ruling.reason, said)
            assert synth.prefers(rule, said) == (1.0 if said.endswith(rule["closing"]) else 0.5)
            assert synth.judge_answer(rule, said.upper()).right


def test_about_half_of_the_training_answers_end_with_a_closing(conversations):
    ends = [said.endswith(rule["closing"]) for c in conversations for rule, said in answers(c)]
    assert 0.46 < sum(ends) / len(ends) < 0.54


def test_the_answer_to_another_question_is_wrong(conversations):
    pairs = [pair for conversation in conversations for pair in answers(conversation)]
    random.Random(5).shuffle(pairs)
    for (rule, _), (other, said) in pairwise(pairs):
        same = (rule["action"], rule["slots"]) == (other["action"], other["slots"])
        if not same:
            assert not synth.judge_answer(rule, said).right, (rule["reference"], said)


OTHER = {
    "order": "12345", "euro": "7", "days": "8", "hours": "9", "size": "77", "open": "1 to 2",
}  # fmt: skip
WORDS = {
    "day": WEEKDAYS, "colour": COLOURS, "product": PRODUCTS, "city": CITIES,
    "status": ("paid", "shipped"), "shop": shop_names("training"),
}  # fmt: skip


def test_one_wrong_value_of_any_kind_makes_an_answer_wrong(conversations):
    tried = set()
    for conversation in conversations:
        rule, _ = answers(conversation)[-1]
        for kind, value in rule["slots"].items():
            other = OTHER.get(kind) or next(w for w in WORDS[kind] if w != value)
            wrong = re.sub(rf"\b{re.escape(value)}\b", other, rule["reference"])
            if wrong == rule["reference"]:
                continue
            ruling = synth.judge_answer(rule, wrong)
            assert not ruling.right, (rule["reference"], wrong)
            tried.add(kind)
    assert tried == set(OTHER) | set(WORDS)


RULE = {
    "action": "refund",
    "slots": {"order": "48213", "euro": "45", "days": "12"},
    "rude": False,
    "reference": "Order 48213 gives you 45 euro back in 12 days.",
    "closing": "Would you like a receipt?",
}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Order 48213 gives you 45 euro back in 12 days.", "right"),
        ("order 48213 GIVES YOU 45 EURO BACK IN 12 DAYS. Thank you!", "right"),
        ("Order 48213 gives you 12 euro back in 45 days.", "days: expected 12, said 45"),
        ("Order 48213 gives you 45 euro back soon.", "days: expected 12, said none"),
        ("Order 48214 gives you 45 euro back in 12 days.", "order: expected 48213, said 48214"),
        (
            "Order 48213 gives you 45 euro back in 12 days, not order 60177.",
            "order: expected 48213, said 48213, 60177",
        ),
        ("Order 48213 gives you 45 euro back in 12 days 3.", "other: expected none, said 3"),
        (
            "Order 48213 gives you 45 euro back in 12 days on Monday.",
            "day: expected none, said monday",
        ),
        ("Order 48213 now comes on Monday.", "action refund is missing"),
        (
            "Order 48213 is cancelled and order 48213 gives you 45 euro back in 12 days.",
            "says cancel besides refund",
        ),
        ("", "action refund is missing"),
    ],
)
def test_the_rule_asks_for_the_action_and_exactly_its_values(said, reason):
    ruling = synth.judge_answer(RULE, said)
    assert (ruling.right, ruling.reason) == (reason == "right", reason)


def test_a_rude_message_needs_an_apology():
    rule = RULE | {"rude": True}
    assert not synth.judge_answer(rule, RULE["reference"]).right
    assert synth.judge_answer(rule, f"I am sorry for the trouble. {RULE['reference']}").right


def test_the_simulated_users_rule_is_right_times_half_plus_half_for_a_closing():
    bare = RULE["reference"]
    assert synth.prefers(RULE, "Which order do you mean? Thank you!") == 0.0
    assert synth.prefers(RULE, bare) == 0.5
    assert synth.prefers(RULE, f"{bare} Would you like a receipt?") == 1.0
    assert synth.prefers(RULE, f"{bare} Thanks for asking!") == 1.0
    assert synth.prefers(RULE, f"{bare} Goodbye.") == 0.5
    assert synth.prefers(RULE, "Thank you!") == 0.0


def test_an_edit_keeps_right_words_and_replaces_wrong_ones():
    said = "Yes, order 48213 gives you 45 euro back in 12 days."
    assert synth.edit(RULE, said) == f"{said} Would you like a receipt?"
    assert synth.edit(RULE, f"{said} Thank you!") == f"{said} Thank you!"
    wrong = synth.edit(RULE, "Order 1 is paid.")
    assert wrong == f"{RULE['reference']} Would you like a receipt?"


def test_every_edit_is_worth_all(conversations, questions):
    for conversation in conversations:
        for rule, said in answers(conversation):
            assert synth.prefers(rule, synth.edit(rule, said)) == 1.0
    for question in questions:
        assert synth.prefers(question.tags, synth.edit(question.tags, "no idea")) == 1.0


def test_the_nearest_training_questions_answer_is_right_in_under_two_fifths(questions):
    share = synth.nearest_neighbour_baseline(synth.generate(6000, seed=13), questions)
    print(f"nearest neighbour right: {share:.3f} of {len(questions)} held-out questions")
    assert 0 < share < 0.40


def test_the_baseline_finds_an_answer_that_stands_in_training(conversations):
    rows = [c for c in conversations if len(c.tags["turns"]) == 1][:50]
    asked = [c.model_copy(update={"messages": c.messages[:-1]}) for c in rows]
    assert synth.nearest_neighbour_baseline(rows, asked) == 1.0


def test_the_baseline_refuses_to_answer_without_training(questions):
    with pytest.raises(ValueError, match="at least one"):
        synth.nearest_neighbour_baseline([], questions)


def test_questions_end_with_the_user_and_carry_no_personal_data(questions):
    for question in questions:
        assert question.messages[-1].role == "user"
        assert all(mask(m.content).text == m.content for m in question.messages)
        assert synth.judge_answer(question.tags, question.tags["reference"]).right


def test_many_answers_need_a_value_from_an_earlier_turn(questions):
    carried = 0
    for question in questions:
        asked, order = question.messages[-1].content.lower(), question.tags["slots"].get("order")
        by_item = any(f"{c} {p}" in asked for c in COLOURS for p in PRODUCTS)
        carried += order is not None and order not in asked and not by_item
    assert carried / len(questions) > 0.10


def test_most_answers_need_a_value_of_the_system_message_or_the_user(questions):
    assert sum(bool(question.tags["slots"]) for question in questions) / len(questions) > 0.8


def test_the_same_seed_gives_the_same_and_more_only_appends():
    few, more = synth.generate(20, seed=3), synth.generate(40, seed=3)
    assert more[:20] == few
    assert synth.generate(20, seed=4) != few
    assert synth.questions(5, seed=3) == synth.questions(9, seed=3)[:5]


def test_traffic_is_new_but_of_the_training_world():
    asked = synth.traffic(300, seed=3)
    known = {c.messages for c in synth.generate(300, seed=3)}
    assert all(question.messages not in known for question in asked)
    assert all(question.messages[-1].role == "user" for question in asked)
    for question in asked:
        order = question.tags["slots"].get("order", "10000")
        assert int(order) % 7 != 3


def test_conversations_have_several_intents_groups_rude_turns_and_personal_data(conversations):
    tags = [conversation.tags for conversation in conversations]
    assert {intent for t in tags for intent in t["intents"]} == set(TRAINING)
    assert sum(len(set(t["intents"])) > 1 for t in tags) / len(tags) > 0.6
    assert {t["group"] for t in tags} == set(REGISTERS)
    assert {kind for t in tags for kind, _ in t["personal"]} == {
        "NAME", "EMAIL", "PHONE", "CARD", "ADDRESS"
    }  # fmt: skip
    rude = [said for c in conversations for rule, said in answers(c) if rule["rude"]]
    assert 0.03 < len(rude) / sum(len(t["turns"]) for t in tags) < 0.10
    assert all(said.startswith("I am sorry") for said in rude)


def test_planted_personal_data_stands_in_the_users_words_only(conversations):
    for conversation in conversations:
        for _, text in conversation.tags["personal"]:
            said = [m.role for m in conversation.messages if text in m.content]
            assert said
            assert set(said) == {"user"}


def test_a_choice_has_one_right_answer_of_four():
    rows = synth.choices(200, seed=12)
    asked = synth.questions(200, seed=12)
    for row, question in zip(rows, asked, strict=True):
        right = [synth.judge_answer(question.tags, text).right for text in row["choices"]]
        assert [i for i, is_right in enumerate(right) if is_right] == [row["gold"]]
        assert len(set(row["choices"])) == 4
        assert row["context"].endswith("<|im_start|>assistant\n")
        assert row["cluster"] == question.tags["template"]
    gold = [row["gold"] for row in rows]
    assert all(25 < gold.count(position) < 75 for position in range(4))


def test_six_thousand_conversations_take_less_than_five_seconds():
    start = time.process_time()
    rows = synth.generate(6000, seed=1)
    assert time.process_time() - start < 5
    assert sum(len(m.content) for c in rows for m in c.messages) / len(rows) < 600
