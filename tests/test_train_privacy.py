from __future__ import annotations

import gzip
import json
import re
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train import synth
from train.privacy import mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("My name is Anna Kowalski.", "My name is [NAME]."),
        ("my name is anna kowalski and I wait", "my name is [NAME] and I wait"),
        ("My name is not important", "My name is not important"),
        ("I'm Omar, hello", "I'm [NAME], hello"),
        ("I am Wanjiru Eze. Hi", "I am [NAME]. Hi"),
        ("I am Happy", "I am Happy"),
        ("This is Mr. Okafor.", "This is Mr. [NAME]."),
        ("Dr. Maria van der Berg called", "Dr. [NAME] called"),
        ("Kind regards, Zofia Nguyen", "Kind regards, [NAME]"),
        ("Best wishes,\nJin", "Best wishes,\n[NAME]"),
        ("Tariq O'Brien here. Help!", "[NAME] here. Help!"),
        ("with Christina M. Walker today", "with [NAME] today"),
        ("a hotel in San Francisco Bay", "a hotel in San Francisco Bay"),
        ("write to j.doe+shop@mail.example.co.uk!", "write to [EMAIL]!"),
        ("card 4111 1111 1111 1111 please", "card [CARD] please"),
        ("card 4111111111111111.", "card [CARD]."),
        ("card 4111 1111 1111 1112", "card 4111 1111 1111 1112"),  # Luhn says no
        ("call 408-971-8523.", "call [PHONE]."),
        ("it is (212) 415-5788, ok", "it is [PHONE], ok"),
        ("+44 20 7946 0958 is mine", "[PHONE] is mine"),
        ("ring 07700 900123", "ring [PHONE]"),
        ("It is 20 7071 5029.", "It is [PHONE]."),
        ("phone: 9123 4567", "phone: [PHONE]"),
        ("It is 71 North San Pedro Street.", "It is [ADDRESS]."),
        ("12 oak street", "[ADDRESS]"),
        (
            "at 420 Ramona St. #4, Palo Alto, CA 94301 today",
            "at [ADDRESS] today",
        ),
        ("10 Downing Street, London SW1A 2AA", "[ADDRESS]"),
        ("Lindenweg 5 in Bonn", "[ADDRESS] in Bonn"),
        ("P.O. Box 123", "[ADDRESS]"),
    ],
)
def test_each_kind_is_masked_where_it_stands(text, masked):
    assert mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "order 48213: blue kettle, 45 euro, arrives Friday",
        "orders 48213 60177 and 99120",
        "call me about order 48213 60 euro",
        "on 2026-03-14 or 14.03.2026, from 2019 - 2021",
        "2 tickets to the theatre on Main Street at 11:30 am",
        "Returns 30 days. Refunds 12 days. Express 9 euro, 38 hours. Open 8 to 18.",
        "Quiet Harbour support, the pickup point in Leeds",
        "It costs $1,700 or 3,550.00 for 3 nights",
        "I am at home on Monday. Thanks, Friday is better",
    ],
)
def test_order_numbers_amounts_dates_and_places_stay(text):
    assert mask(text).text == text


def test_counts_name_the_kinds():
    found = mask("I'm Anna Berg, anna@example.com or 212-555-0142")
    assert found.counts == {"NAME": 1, "EMAIL": 1, "PHONE": 1}


def test_planted_personal_data_is_found_and_nothing_else_is_masked():
    """Recall: planted pieces gone from the text. Precision: masks that hit a planted piece."""
    planted: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    masks: Counter[str] = Counter()
    for conversation in synth.generate(3000, seed=21):
        found = [mask(message.content) for message in conversation.messages]
        text = "\n".join(each.text for each in found)
        for kind, piece in conversation.tags["personal"]:
            planted[kind] += 1
            missed[kind] += piece in text
        for each in found:
            masks.update(each.counts)
        for message, each in zip(conversation.messages, found, strict=True):
            if message.role != "user":
                assert each.text == message.content
    hits = planted.total() - missed.total()
    recall, precision = hits / planted.total(), min(1.0, hits / masks.total())
    print(f"planted {dict(planted)}: recall {recall:.4f}, precision {precision:.4f}")
    assert recall >= 0.98
    assert precision >= 0.98


PIECES = st.sampled_from(
    [
        "My name is ", "Anna ", "Kowalski", "I am ", "Mr. ", "O'Brien", "Regards, ", " here", ". ",
        "12 Oak Street", ", Milton", " CA 94301", "+44 20 7946 0958", "408-971-8523", " 48213",
        "4111 1111 1111 1111", "a@b.example", "call ", "\n", "[NAME]", "van ", "M. ", "1 23 45 67",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=6), max_size=12).map("".join))
def test_masking_a_masked_text_changes_nothing(text):
    once = mask(text).text
    again = mask(once)
    assert again.text == once
    assert again.counts == {}


def test_real_conversations_lose_every_phone_number(shared_data):
    """SGD's development split; the shapes are those of North America, and any with a plus."""
    shape = re.compile(r"\b\d{3}[-. ]\d{3}[-. ]\d{4}\b|\(\d{3}\) ?\d{3}-\d{4}|\+\d{1,3}[ -]\d")
    numbers = rows = 0
    start = time.process_time()
    with gzip.open(shared_data / "sgd" / "dev.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            rows += 1
            for turn in row["turns"]:
                numbers += len(shape.findall(turn[1]))
                assert not shape.search(mask(turn[1]).text)
    print(f"{numbers} numbers, {rows / (time.process_time() - start):,.0f} conversations/s")
    assert numbers > 400
