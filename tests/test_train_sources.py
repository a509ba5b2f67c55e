from __future__ import annotations

import gzip
import json
from itertools import pairwise

import pytest

from train.sources import FORMATS, SourceError, read, read_rewards

SGD = {
    "dialogue_id": "1_00000",
    "services": ["Restaurants_1"],
    "turns": [["U", "I am hungry", "FindRestaurants"], ["S", "Where?"], ["U", "Bye", "NONE"]],
}
TASKMASTER = {
    "conversation_id": "dlg-1",
    "vertical": "Coffee",
    "scenario": "x",
    "turns": [
        {"speaker": "user", "text": "one chai", "api": ["get_menu_items", "{}"]},
        {"speaker": "assistant", "text": "ok"},
        {"speaker": "assistant", "text": "anything else?"},
    ],
}
MESSAGES = {
    "id": "m1",
    "messages": [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello"},
    ],
}


def write(path, *rows):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def said(conversation):
    return [(m.role, m.content) for m in conversation.messages]


def test_sgd_rows_become_conversations(tmp_path):
    (conversation,) = read(write(tmp_path / "a.jsonl.gz", SGD), "sgd")
    assert conversation.id == "sgd-1_00000"
    assert said(conversation) == [
        ("user", "I am hungry"),
        ("assistant", "Where?"),
        ("user", "Bye"),
    ]
    assert conversation.tags["intents"] == ["FindRestaurants"]
    assert conversation.tags["group"] == "Restaurants"
    assert conversation.licence == "CC-BY-SA-4.0"


def test_turns_of_one_speaker_in_a_row_are_joined(tmp_path):
    (conversation,) = read(write(tmp_path / "a.jsonl", TASKMASTER), "taskmaster4")
    assert said(conversation) == [("user", "one chai"), ("assistant", "ok anything else?")]
    assert conversation.tags["intents"] == ["get_menu_items"]


def test_openai_messages_are_read_with_text_parts_and_developer_messages(tmp_path):
    first, second = read(
        write(tmp_path / "a.jsonl", MESSAGES, "", {"messages": MESSAGES["messages"]}),
        "messages",
        licence="MIT",
    )
    assert said(first) == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")]
    assert first.id == "messages-m1"
    assert second.id.startswith("messages-")
    assert second.messages == first.messages
    assert first.licence == "MIT"


@pytest.mark.parametrize(
    ("format", "row", "problem"),
    [
        ("sgd", "{not json", "not JSON (Expecting property name"),
        ("sgd", "[1, 2]", "not a JSON object but a list"),
        ("sgd", {"dialogue_id": "1"}, "no key 'turns'; have dialogue_id"),
        ("sgd", SGD | {"turns": [["X", "hello"]]}, "unknown speaker 'X'"),
        ("sgd", SGD | {"turns": []}, "no turn has a text"),
        ("sgd", SGD | {"turns": [["U", 7]]}, "a turn's text is a int, not a string"),
        ("taskmaster4", TASKMASTER | {"turns": ["hello"]}, "not a row of format taskmaster4"),
        ("messages", {"messages": "hello"}, "not a row of format messages"),
        ("messages", {"messages": [{"role": "tool", "content": "x"}]}, "unknown speaker 'tool'"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "content part of type 'image_url'",
        ),
        ("messages", {"messages": [{"role": "user", "content": None}]}, "content must be a string"),
    ],
)
def test_an_unreadable_row_is_one_error_with_file_line_problem_and_advice(
    tmp_path, format, row, problem
):
    good = {"sgd": SGD, "taskmaster4": TASKMASTER, "messages": MESSAGES}[format]
    path = write(tmp_path / "rows.jsonl", good, row)
    rows = read(path, format)
    next(rows)
    with pytest.raises(SourceError) as error:
        next(rows)
    assert f"{path}:2: " in str(error.value)
    assert problem in str(error.value)
    assert str(error.value).endswith("fix or delete the line")
    assert "\n" not in str(error.value)


def test_a_line_that_is_not_utf_8_names_its_place(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"messages": "\xff\xfe"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl:1: not UTF-8"):
        list(read(path, "messages"))


def test_a_cut_gzip_file_is_an_error(tmp_path):
    path = write(tmp_path / "a.jsonl.gz", *[SGD | {"dialogue_id": str(i)} for i in range(500)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="cannot be read after line"):
        list(read(path, "sgd"))


def test_missing_files_folders_and_formats_are_errors_that_say_what_there_is(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        list(read(tmp_path / "no.jsonl", "sgd"))
    write(tmp_path / "here.jsonl", SGD)
    with pytest.raises(SourceError, match=r"is a folder; name one of its files: here\.jsonl"):
        list(read(tmp_path, "sgd"))
    with pytest.raises(SourceError, match="no format named 'csv'; have messages, sgd, taskmaster4"):
        read(tmp_path / "here.jsonl", "csv")
    with pytest.raises(SourceError, match="read_rewards"):
        read(tmp_path / "here.jsonl", "taskmaster_rewards")


def reward(generation, value, *context):
    return {
        "conversation_id": "d",
        "context": json.dumps(list(context)),
        "generation": json.dumps(generation),
        "reward": value,
    }


def test_rated_answers_keep_texts_and_leave_api_calls_out(tmp_path):
    greeting = {"role": "agent", "text": "Welcome"}
    order = {"role": "user", "text": "an espresso"}
    call = {"role": "agent", "api": {"menu": {}}}
    path = write(
        tmp_path / "r.jsonl",
        reward({"role": "agent", "text": "Sure"}, 1.0, greeting, order, call),
        reward(call, 1.0, greeting, order),
        reward({"role": "agent", "text": "No"}, 0.0, greeting, order),
        reward({"role": "agent", "text": "Hello"}, 0.0, greeting),
    )
    good, bad = read_rewards(path)
    assert [m.content for m in good.prompt] == ["Welcome", "an espresso"]
    assert good.completion[0].content == "Sure"
    assert (good.label, bad.label) == (True, False)


def test_a_reward_that_is_none_is_an_error(tmp_path):
    path = write(tmp_path / "r.jsonl", reward({"role": "agent", "text": "x"}, 0.5))
    with pytest.raises(SourceError, match=r"r\.jsonl:1: .*reward must be 0 or 1, not 0\.5"):
        list(read_rewards(path))


# Row counts from the data's own description.
@pytest.mark.parametrize(
    ("path", "format", "rows"),
    [
        ("sgd/train.jsonl.gz", "sgd", 2000),
        ("taskmaster4/dialogs.jsonl.gz", "taskmaster4", 3710),
    ],
)
def test_public_conversations_are_read_to_the_last_row(shared_data, path, format, rows):
    conversations = list(read(shared_data / path, format))
    assert len(conversations) == rows
    assert len({c.id for c in conversations}) == rows
    for conversation in conversations:
        roles = [m.role for m in conversation.messages]
        assert all(a != b for a, b in pairwise(roles))
        assert conversation.licence == FORMATS[format].licence


# 671 + 166 answers in words of 1,773 in TM-3, 698 + 97 of 3,228 in TM-4, counted with json.
@pytest.mark.parametrize(("name", "rows"), [("tm-3-2020", 837), ("tm-4-2024", 795)])
def test_public_rated_answers_are_read(shared_data, name, rows):
    rated = list(read_rewards(shared_data / "taskmaster_rewards" / f"{name}_reward.jsonl.gz"))
    assert 0.9 * rows < len(rated) <= rows
    assert {row.label for row in rated} == {True, False}
