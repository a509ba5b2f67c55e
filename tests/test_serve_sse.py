"""Server-sent events: whole however they were cut, searched and put together again."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from serve import sse

STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"a\\n\\nb"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_whole_and_complete_wherever_the_stream_is_cut(cuts):
    borders = sorted({0, *cuts, len(STREAM)})
    events = sse.Events()
    blocks = [events.feed(STREAM[a:b]) for a, b in itertools.pairwise(borders)] + [events.rest()]
    assert b"".join(blocks) == STREAM
    assert all(block.endswith(b"\n\n") for block in blocks if block)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_byte_is_lost_or_invented_whatever_comes(chunks):
    events = sse.Events()
    assert b"".join([*map(events.feed, chunks), events.rest()]) == b"".join(chunks)


def test_an_endless_event_is_handed_on_before_it_fills_the_memory():
    events = sse.Events()
    assert events.feed(b"x" * sse.MAX_HELD_BYTES) == b""
    assert len(events.feed(b"x")) == sse.MAX_HELD_BYTES + 1


def test_only_the_event_that_carries_nothing_but_usage_is_taken_out():
    left = sse.without_usage_event(STREAM)
    assert left == STREAM.replace(
        b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n', b""
    )
    talk = b'data: {"choices":[{"delta":{"content":"\\"choices\\":[] usage"}}]}\n\n'
    assert sse.without_usage_event(talk) == talk


def test_usage_and_text_are_read_from_a_stream():
    assert sse.usage_in(STREAM) == (3, 2)
    assert sse.usage_in(b"data: {}\n\ndata: not json\n\n") == (None, None)
    assert sse.usage_in(b'data: {"usage":{"prompt_tokens":') == (None, None)
    assert sse.usage_in(b'{"data":[],"usage":{"prompt_tokens":4,"total_tokens":4}}') == (4, None)
    assert sse.streamed_text(STREAM) == "a\n\nb"


def test_an_answer_that_talks_about_json_is_not_mistaken_for_a_finish():
    text = json.dumps({"choices": [{"delta": {"content": '"finish_reason":"abort"'}}]}).encode()
    assert sse.FINISH.search(text) is None
    assert sse.FINISH.search(b'{"finish_reason": null}') is None


def test_the_first_content_is_told_from_the_empty_one_that_names_the_role():
    role, content = STREAM.split(b"\n\n")[:2]
    assert sse.CONTENT.search(role) is None
    assert sse.CONTENT.search(content) is not None
    assert sse.CONTENT.search(b'{"text": "x"}') is not None


def test_the_usage_is_not_mistaken_for_a_token_of_that_name():
    answer = {
        "choices": [{"logprobs": {"top_logprobs": [{"usage": -1.5}]}, "text": '"usage":{}'}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    assert sse.usage_in(json.dumps(answer).encode()) == (1, 2)
    del answer["usage"]
    assert sse.usage_in(json.dumps(answer).encode()) == (None, None)


@given(st.lists(st.integers(0, len(STREAM) + 5), max_size=12))
def test_lines_in_crlf_are_cut_at_their_ends_too(cuts):
    stream = STREAM.replace(b"\n", b"\r\n")
    borders = sorted({0, *cuts, len(stream)})
    events = sse.Events()
    blocks = [events.feed(stream[a:b]) for a, b in itertools.pairwise(borders)] + [events.rest()]
    assert b"".join(blocks) == stream
    assert all(block.endswith(b"\r\n\r\n") for block in blocks if block)


def test_the_usage_event_is_taken_out_of_crlf_streams_too():
    stream = STREAM.replace(b"\n", b"\r\n")
    left = sse.without_usage_event(stream)
    assert left == sse.without_usage_event(STREAM).replace(b"\n", b"\r\n")


def test_an_error_event_is_told_from_an_answer_that_speaks_of_one():
    refused = b': ping\n\ndata: {"error": {"message": "no"}}\n\ndata: [DONE]\n\n'
    found = sse.ERROR.search(refused)
    assert found is not None
    assert found[1] == b'{"error": {"message": "no"}}'
    said = json.dumps({"choices": [{"delta": {"content": 'data: {"error"'}}]}).encode()
    assert sse.ERROR.search(b"data: " + said + b"\n\n") is None


def test_one_abort_of_several_choices_is_seen():
    block = b'data: {"choices":[{"finish_reason":"stop"},{"finish_reason": "abort"}]}\n\n'
    assert sse.ABORT.search(block) is not None
    assert sse.ABORT.search(STREAM) is None
