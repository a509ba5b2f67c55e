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


def test_no_value_of_a_held_out_answer_but_a_status_occurs_in_training(conversations, questions):
    """Colours are held out with their product, statuses are cases of the rule."""

    def values(rows):
        turns = [turn for row in rows for turn in row.tags["turns"]]
        slots = {pair for turn in turns for pair in (turn["slots"] | turn["about"]).items()}
        return {(k, v) for k, v in slots if k not in ("status", "colour", "wanted")}

    assert len(values(questions)) > 500
    assert not values(questions) & values(conversations)


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


def test_an_answer_needs_only_facts_that_the_system_message_shows():
    for question in synth.questions(300, seed=8) + synth.generate(300, seed=8):
        known = " ".join(m.content for m in question.messages if m.role != "assistant").lower()
        for turn in question.tags["turns"]:
            slots = {k: v for k, v in turn["slots"].items() if k != "wanted"}
            assert all(value.lower() in known for value in slots.values())


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
    "order": "1234", "kroner": "7", "days": "8", "hours": "9", "minutes": "5", "size": "77",
    "open": "1 to 2",
}  # fmt: skip
WORDS = {
    "day": days("training"), "colour": COLOURS, "city": districts("training"),
    "status": ("paid", "shipped"), "shop": shop_names("training"),
    "item": ("red mug", "blue mug"), "wanted": ("day", "city"),
}  # fmt: skip


def test_one_wrong_value_of_any_kind_makes_an_answer_wrong(conversations):
    tried = set()
    for conversation in conversations:
        for rule, _ in answers(conversation):
            named = {k: v for k, v in rule["about"].items() if v in rule["reference"]}
            for kind, value in (rule["slots"] | named).items():
                other = OTHER.get(kind) or next(w for w in WORDS[kind] if w != value)
                wrong = re.sub(rf"\b{re.escape(value)}\b", other, rule["reference"])
                ruling = synth.judge_answer(rule, wrong)
                assert not ruling.right, (rule["reference"], wrong)
                tried.add(kind)
    assert tried == set(OTHER) | set(WORDS)


RULE = {
    "action": "refund",
    "about": {"order": "4821", "item": "red lamp"},
    "slots": {"kroner": "453", "hours": "127"},
    "rude": False,
    "reference": "Order 4821 gives you 453 kroner back in 127 hours.",
    "closing": "Would you like a receipt?",
}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Order 4821 gives you 453 kroner back in 127 hours.", "right"),
        ("order 4821 GIVES YOU 453 KRONER BACK IN 127 HOURS. Thank you!", "right"),
        ("Order 4821 gives you 127 kroner back in 453 hours.", "hours: expected 127, said 453"),
        ("Order 4821 gives you 453 kroner back soon.", "hours: expected 127, said none"),
        ("The red lamp gives you 453 kroner back in 127 hours.", "right"),
        ("Order 4821, the red lamp, gives you 453 kroner back in 127 hours.", "right"),
        ("It gives you 453 kroner back in 127 hours.", "names no order"),
        (
            "The blue lamp gives you 453 kroner back in 127 hours.",
            "item: expected red lamp, said blue lamp",
        ),
        ("Order 4812 gives you 453 kroner back in 127 hours.", "order: expected 4821, said 4812"),
        (
            "Order 4821 gives you 453 kroner back in 127 hours, not order 6017.",
            "order: expected 4821, said 4821, 6017",
        ),
        ("Order 4821 gives you 453 kroner back in 127 hours 3.", "other: expected none, said 3"),
        (
            "Order 4821 gives you 453 kroner back in 127 hours on 12 March.",
            "day: expected none, said 12 march",
        ),
        ("Order 4821 now comes on 12 March.", "action refund is missing"),
        (
            "Order 4821 is cancelled and order 4821 gives you 453 kroner back in 127 hours.",
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
    said = "Yes, order 4821 gives you 453 kroner back in 127 hours."
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


def test_many_answers_need_something_from_an_earlier_turn(questions):
    """The order behind a pronoun, or the request to which a bare value is the rest."""
    carried = 0
    for question in questions:
        asked, tags = question.messages[-1].content.lower(), question.tags
        carried += bool(tags["about"]) and not any(v in asked for v in tags["about"].values())
    assert carried / len(questions) > 0.10
    assert any(":tell:" in question.tags["template"] for question in questions)


def test_an_order_moved_to_another_day_arrives_then(conversations):
    found = 0
    for conversation in conversations:
        day = None
        for rule, _ in answers(conversation):
            if rule["action"] == "move_day":
                day = rule["slots"]["day"]
            elif rule["action"] == "status" and day:
                assert rule["slots"]["day"] == day
                found += 1
    assert found > 20


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
        order = question.tags["about"].get("order", "1000")
        assert int(order) % 7 != 3


def test_conversations_have_several_intents_groups_rude_turns_and_personal_data(conversations):
    tags = [conversation.tags for conversation in conversations]
    assert {intent for t in tags for intent in t["intents"]} == set(TRAINING) - {"tell"}
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
