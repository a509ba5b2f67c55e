"""Engines that hang, trickle or lie: what the client reads, and that the slot is free again."""

from __future__ import annotations

import asyncio
import json

import pytest

from serve import engine_client
from tests.raw_engine import (
    DONE,
    EVENTS_HEAD,
    JSON_HEAD,
    ROLE,
    STOP,
    USAGE,
    WHOLE,
    WORD,
    ask,
    chat,
    eventually,
    gateway_over,
    in_flight,
)

CRLF_STREAM = (ROLE + WORD + STOP + DONE).replace(b"\n\n", b"\r\n\r\n")


def says(*pieces: bytes, pause: float = 0.0):
    """A script that writes the pieces, each at once."""

    async def script(body, writer) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


def error_of(data: bytes) -> dict[str, str]:
    return json.loads(data)["error"]


async def test_an_engine_that_hangs_in_the_middle_ends_in_an_error_event():
    async def hang(body, writer) -> None:
        writer.write(EVENTS_HEAD + ROLE + WORD)
        await writer.drain()
        await asyncio.sleep(30)

    async with gateway_over(hang, request_timeout_seconds=0.3) as (gateway, _):
        status, headers, data = await asyncio.wait_for(ask(gateway, chat(stream=True)), 5)
        assert (status, data.startswith(ROLE + WORD)) == (200, True)
        assert b"fell silent" in data
        assert data.endswith(DONE)
        assert gateway.value("hallmark_upstream_failures_total", variant="a", reason="timeout") == 1
        assert in_flight(gateway) == 0
        row = await gateway.row(headers["x-request-id"])
        assert row.finish_reason == "error"


async def test_a_stream_that_trickles_byte_by_byte_arrives_whole():
    stream = ROLE + WORD + STOP + DONE
    script = says(EVENTS_HEAD, *(stream[at : at + 1] for at in range(len(stream))))
    async with gateway_over(script) as (gateway, _):
        status, _, data = await ask(gateway, chat(stream=True))
        assert (status, data) == (200, stream)


async def test_an_answer_that_trickles_without_end_is_ended_at_its_time_limit():
    async def trickle(body, writer) -> None:
        writer.write(EVENTS_HEAD)
        while True:
            writer.write(WORD)
            await writer.drain()
            await asyncio.sleep(0.02)

    limits = {"request_timeout_seconds": 5, "answer_timeout_seconds": 0.5}
    async with gateway_over(trickle, **limits) as (gateway, engine):
        status, _, data = await asyncio.wait_for(ask(gateway, chat(stream=True)), 5)
        assert status == 200
        assert b"took longer than it may" in data
        await eventually(lambda: engine.cut_off == 1)
        assert in_flight(gateway) == 0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(JSON_HEAD + b"<html>no</html>", id="html as JSON"),
        pytest.param(JSON_HEAD + b"[1, 2]", id="a list"),
        pytest.param(JSON_HEAD, id="nothing"),
        pytest.param(JSON_HEAD + WHOLE[:-40], id="cut short without a length"),
        pytest.param(
            JSON_HEAD.replace(b"Connection", b"Content-Length: 9999\r\nConnection") + WHOLE,
            id="less than announced",
        ),
        pytest.param(b"SMTP ready\r\n\r\n", id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 307 Go\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n",
            id="a redirect",
        ),
        pytest.param(EVENTS_HEAD + b"<html>no</html>", id="html as events"),
        pytest.param(EVENTS_HEAD, id="no events"),
        pytest.param(EVENTS_HEAD + b": ping\n\n: ping\n\n", id="comments only"),
        pytest.param(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", id="204"),
    ],
)
async def test_an_engine_that_lies_is_502_in_openais_shape(answer):
    async with gateway_over(says(answer)) as (gateway, engine):
        status, headers, data = await asyncio.wait_for(ask(gateway, chat()), 5)
        assert (status, error_of(data)["type"]) == (502, "server_error")
        assert error_of(data)["code"] == "upstream_failed"
        assert float(headers["x-hallmark-overhead-ms"]) >= 0
        assert in_flight(gateway) == 0
        assert len(engine.asked) == 1


async def test_an_answer_larger_than_the_memory_allows_is_given_up(monkeypatch):
    monkeypatch.setattr(engine_client, "MAX_ANSWER_BYTES", 100_000)

    async def endless(body, writer) -> None:
        writer.write(JSON_HEAD + b'{"choices":"')
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    async with gateway_over(endless) as (gateway, engine):
        status, _, data = await asyncio.wait_for(ask(gateway, chat()), 5)
        assert status == 502
        assert "over 100000 bytes" in error_of(data)["message"]
        await eventually(lambda: engine.cut_off == 1)


async def test_comments_before_an_error_do_not_turn_it_into_200():
    refusal = b'data: {"error":{"message":"no room","code":503}}\n\n' + DONE
    async with gateway_over(says(EVENTS_HEAD + b": ping\n\n", refusal, pause=0.02)) as (gateway, _):
        status, headers, data = await ask(gateway, chat(stream=True))
        assert (status, headers["Retry-After"]) == (503, "2")
        assert error_of(data)["message"] == "no room"


async def test_an_error_beside_the_first_event_is_still_a_status():
    refusal = b'data: {"error":{"message":"no room","code":503}}\n\n' + DONE
    async with gateway_over(says(EVENTS_HEAD + ROLE + refusal)) as (gateway, _):
        assert (await ask(gateway, chat(stream=True)))[0] == 503


async def test_an_engines_error_in_the_middle_passes_once_and_is_counted():
    failure = b'data: {"error":{"message":"out of blocks","code":500}}\n\n'
    async with gateway_over(says(EVENTS_HEAD + ROLE, WORD, failure + DONE, pause=0.02)) as (
        gateway,
        _,
    ):
        status, _, data = await ask(gateway, chat(stream=True))
        assert (status, data) == (200, ROLE + WORD + failure + DONE)
        assert gateway.value("hallmark_upstream_failures_total", variant="a", reason="stream") == 1


async def test_a_stream_without_its_last_event_is_not_taken_for_whole():
    async with gateway_over(says(EVENTS_HEAD + ROLE + WORD + STOP)) as (gateway, _):
        _, _, data = await ask(gateway, chat(stream=True))
        assert b"ended its answer early" in data


@pytest.mark.parametrize("stream", [True, False])
async def test_one_aborted_choice_of_several_is_a_failure(stream):
    aborted = b'{"index":1,"finish_reason":"abort"}'
    if stream:
        script = says(EVENTS_HEAD + STOP + b'data: {"choices":[' + aborted + b"]}\n\n" + DONE)
    else:
        whole = WHOLE.replace(b'"stop"}]', b'"stop"},' + aborted + b"]")
        script = says(JSON_HEAD + whole)
    async with gateway_over(script) as (gateway, _):
        status, headers, _ = await ask(gateway, chat(stream=stream, n=2))
        assert (status, headers["Retry-After"]) == (503, "5")


async def test_lines_that_end_in_crlf_are_events_too():
    script = says(EVENTS_HEAD, CRLF_STREAM[:90], CRLF_STREAM[90:], pause=0.02)
    async with gateway_over(script) as (gateway, _):
        status, _, data = await ask(gateway, chat(stream=True))
        assert (status, data) == (200, CRLF_STREAM)


async def test_an_event_of_several_megabytes_passes():
    huge = b'data: {"choices":[{"delta":{"content":"' + b"x" * 3_000_000 + b'"}}]}\n\n'
    stream = ROLE + huge + STOP + USAGE + DONE
    wanted = {"include_usage": True}
    async with gateway_over(says(EVENTS_HEAD, stream)) as (gateway, _):
        status, headers, data = await ask(gateway, chat(stream=True, stream_options=wanted))
        assert (status, data == stream) == (200, True)
        row = await gateway.row(headers["x-request-id"])
        assert (row.prompt_tokens, row.completion_tokens) == (3, 2)
