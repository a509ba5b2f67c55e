from __future__ import annotations

import random
import re
import time
from itertools import pairwise

import pytest

from train import synth
from train.privacy import mask
from train.synth_phrases import TRAINING
from train.synth_speech import REGISTERS
from train.synth_world import COLOURS, days, districts, shop_names


@pytest.fixture(scope="module")
def conversations():
    return synth.generate(1500, seed=11)


@pytest.fixture(scope="module")
def questions():
    return synth.questions(400, seed=12)


def answers(conversation):
    said = [m.content for m in conversation.messages if m.role == "assistant"]
    return list(zip(conversation.tags["turns"], said, strict=True))


def test_an_answer_needs_only_facts_that_the_system_message_shows():
    for question in synth.questions(300, seed=8) + synth.generate(300, seed=8):
        known = " ".join(m.content for m in question.messages if m.role != "assistant").lower()
        for turn in question.tags["turns"]:
            slots = {k: v for k, v in turn["slots"].items() if k != "wanted"}
            assert all(value.lower() in known for value in slots.values())


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
