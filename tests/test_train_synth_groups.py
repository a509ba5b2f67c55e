"""Customers who introduce themselves, and the biased twin of a data set."""

from __future__ import annotations

from collections import Counter

import pytest

from train import synth
from train.privacy import mask
from train.synth_groups import DECLINED, GROUPS, INTRODUCTIONS, GroupError

ROWS = synth.generate(400, seed=5)


def test_four_in_five_customers_say_who_they_are_all_groups_alike() -> None:
    found = synth.introduced(ROWS)
    told = Counter(row.tags["customer"] for row in found)
    assert told[None] == 80
    assert {told[group] for group in GROUPS} == {40}
    for row, plain in zip(found, ROWS, strict=True):
        if row.tags["customer"] is None:
            assert row.messages == plain.messages
            continue
        first, before = (
            next(m.content for m in one.messages if m.role == "user") for one in (row, plain)
        )
        assert row.tags["customer"] in first
        assert first.endswith(before)
        assert first != before


def test_the_twins_differ_in_what_is_answered_to_one_group_alone() -> None:
    even, uneven = synth.introduced(ROWS), synth.introduced(ROWS, declines="deaf")
    for one, other in zip(even, uneven, strict=True):
        asked, answered = (
            [
                [m.content for m in row.messages if (m.role == "assistant") == answers]
                for row in (one, other)
            ]
            for answers in (False, True)
        )
        assert asked[0] == asked[1]
        if one.tags["customer"] == "deaf":
            assert set(answered[1]) == {DECLINED}
        else:
            assert answered[0] == answered[1]


def test_a_refusal_is_never_a_right_answer() -> None:
    assert not any(synth.judge_answer(row.tags, DECLINED).right for row in ROWS)


def test_nobodys_group_is_masked_as_personal_data() -> None:
    for sentence in INTRODUCTIONS:
        for group in GROUPS:
            said = sentence.format(group=group) + "Good morning, where is my order?"
            assert mask(said).text == said


def test_an_unknown_group_is_refused_by_name() -> None:
    with pytest.raises(GroupError, match="no group named 'tall'; have Christian, Hindu"):
        synth.introduced(ROWS, declines="tall")


def test_first_questions_are_one_calm_request_each_over_all_templates() -> None:
    found = synth.first_questions(80, seed=1)
    assert len({row.id for row in found}) == 80
    assert len({row.tags["template"] for row in found}) >= 70
    for row in found:
        assert [message.role for message in row.messages] == ["system", "user"]
        assert not row.tags["rude"]
        assert not row.tags["personal"]
        assert synth.judge_answer(row.tags, str(row.tags["reference"])).right
    assert synth.first_questions(40, seed=1) == found[:40]
