from __future__ import annotations

import re

import pytest

from registry.conversation import Conversation, Message
from train import synth
from train.clean import clean, clean_rewards, normalise, split
from train.sources import LabelledCompletion


def talk(name: str, *texts: str, **tags: object) -> Conversation:
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(texts))
    return Conversation(id=name, messages=messages, source="t", licence="CC0-1.0", tags=tags)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  a \t b  ", "a b"),
        ("a\r\n\r\n\n b", "a\nb"),
        ("cafe\u0301", "caf\u00e9"),  # NFC composes
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("no\u00a0break", "no break"),
        ("\x00bell\x07", "bell"),
        ("", ""),
    ],
)
def test_text_is_normalised(text, normal):
    assert normalise(text) == normal
    assert normalise(normal) == normal


def test_exact_duplicates_and_empty_conversations_are_dropped_and_counted():
    cleaned = clean(
        [
            talk("a", "hello  there", "hi"),
            talk("b", "hello there", "hi"),
            talk("c", "hello there", "Hi"),
            talk("d", "hello there", " "),
            talk("e", "only a question"),
        ]
    )
    assert [c.id for c in cleaned.conversations] == ["a", "c"]
    report = cleaned.report
    assert (report.read, report.kept, report.duplicates, report.empty) == (5, 2, 1, 2)
    assert report.lines()[0] == (
        "5 conversations read, 2 kept, 1 exact duplicates and 2 empty ones dropped"
    )


def test_conversations_that_differ_in_personal_data_only_are_duplicates():
    rows = [talk("a", "I'm Anna Berg", "hi"), talk("b", "I'm Peter Pan", "hi")]
    cleaned = clean(rows)
    assert [m.content for c in cleaned.conversations for m in c.messages] == ["I'm [NAME]", "hi"]
    assert cleaned.report.masked == {"NAME": 2}


def test_planted_personal_data_leaves_texts_and_tags():
    rows = synth.generate(400, seed=5)
    planted = {c.id: [text for _, text in c.tags["personal"]] for c in rows}
    assert sum(map(len, planted.values())) > 50
    for left in clean(rows).conversations:
        found = left.model_dump_json()
        assert not [
            text for text in planted[left.id] if re.search(rf'[ "]{re.escape(text)}', found)
        ]


def test_masked_answers_are_still_right():
    for conversation in clean(synth.generate(400, seed=6)).conversations:
        assert synth.judge_answer(conversation.tags, conversation.messages[-1].content).right


def test_progress_ends_at_the_total():
    seen = []
    clean(synth.generate(300, seed=1), lambda done, total: seen.append((done, total)))
    assert seen == [(0, 300), (256, 300), (300, 300)]


def test_the_split_is_by_id_and_near_its_shares():
    rows = [talk(str(index), "a", "b") for index in range(4000)]
    parts = split(rows, seed=0)
    assert {name: len(part) for name, part in parts.items()} == pytest.approx(
        {"train": 3600, "validation": 200, "test": 200}, rel=0.2
    )
    ids = {name: {c.id for c in part} for name, part in parts.items()}
    assert sum(map(len, ids.values())) == 4000
    assert len(set.union(*ids.values())) == 4000
    fewer = split(rows[::2], seed=0)
    assert all({c.id for c in part} <= ids[name] for name, part in fewer.items())
    assert split(rows, seed=1) != parts


def test_shares_that_are_none_are_refused():
    with pytest.raises(ValueError, match="sum of 1"):
        split([], seed=0, shares=(0.9, 0.2, 0.1))


def test_rated_answers_are_masked_and_equal_ones_kept_once():
    def rated(text: str, label: bool) -> LabelledCompletion:
        prompt = (Message(role="user", content=text),)
        return LabelledCompletion(
            prompt=prompt, completion=(Message(role="assistant", content="ok"),), label=label
        )

    rows = clean_rewards(
        [rated("call 408-971-8523", True), rated("call 408-971-8524", False), rated("no", False)]
    )
    assert [(row.prompt[0].content, row.label) for row in rows] == [
        ("call [PHONE]", True),
        ("no", False),
    ]
