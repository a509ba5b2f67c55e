"""Whatever an engine streams, in whatever pieces: bytes pass, or an error in OpenAI's shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from tests.raw_engine import (
    DONE,
    EVENTS_HEAD,
    ROLE,
    STOP,
    USAGE,
    WORD,
    RawEngine,
    ask,
    chat,
    eventually,
    gateway_over,
    in_flight,
)
from tests.serving_fake import Bench

OURS = b'data: {"error": {"message": "the engine '
PIECES = st.one_of(
    st.sampled_from(
        [
            ROLE, WORD, STOP, USAGE, DONE, b": ping\n\n", b"\n\n", b"data: ", b"data: {]\n\n",
            b'data: {"error":{"message":"no room","code":503}}\n\n',
            b'data: {"choices":[{"finish_reason":"abort"}]}\n\n',
            WORD.replace(b"\n\n", b"\r\n\r\n"),
            b'data: {"choices":[{"delta":{"content":"\\"error\\" \\"usage\\":{"}}]}\n\n',
            b'data: {"choices":[],"usage":{"prompt_tokens":"many"}}\n\n',
        ]
    ),
    st.binary(max_size=60),
    st.integers(60_000, 200_000).map(lambda size: b"data: " + b"x" * size + b"\n\n"),
)  # fmt: skip
ANSWER = st.lists(PIECES, max_size=8).map(b"".join)
CUTS = st.lists(st.floats(0, 1), max_size=8)


class Relay:
    """One gateway and its engine for all examples, in a loop of their own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._stack = AsyncExitStack()
        self.gateway: Bench
        self.engine: RawEngine

    def open(self) -> None:
        async def nothing(body, writer) -> None: ...

        async def enter() -> None:
            opened = await self._stack.enter_async_context(gateway_over(nothing))
            self.gateway, self.engine = opened

        self._runner.run(enter())

    def close(self) -> None:
        self._runner.run(self._stack.aclose())

    def answer(self, sent: bytes, cuts: list[float]) -> tuple[int, bytes]:
        borders = sorted({0, *(int(cut * len(sent)) for cut in cuts), len(sent)})

        async def script(body, writer) -> None:
            writer.write(EVENTS_HEAD)
            for start, end in pairwise(borders):
                writer.write(sent[start:end])
                await writer.drain()
                await asyncio.sleep(0)

        async def run() -> tuple[int, bytes]:
            self.engine.script = script
            asked = chat(stream=True, stream_options={"include_usage": True})
            status, _, data = await asyncio.wait_for(ask(self.gateway, asked), 10)
            await eventually(lambda: in_flight(self.gateway) == 0)
            member = self.gateway.standing.upstreams["a"]
            self.gateway.standing.fleet.replicas["a"].started(member)  # closes the breaker
            return status, data

        return self._runner.run(run())


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with asyncio.Runner() as runner:
        made = Relay(runner)
        made.open()
        yield made
        made.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sent=ANSWER, cuts=CUTS)
@example(sent=ROLE + WORD + STOP + USAGE + DONE, cuts=[0.1, 0.5, 0.99])
@example(sent=ROLE + b'data: {"choices":[{"finish_reason":"abort"}]}\n\n', cuts=[0.5])
@example(sent=b"", cuts=[])
def test_bytes_pass_in_order_or_the_client_reads_an_error(relay, sent, cuts):
    status, data = relay.answer(sent, cuts)
    event(f"status {status}")
    if status != 200:
        assert {"message", "type", "param", "code"} == set(json.loads(data)["error"])
        return
    passed, _, added = data.partition(OURS)
    if added and not sent.startswith(passed):  # an event was broken off: ours begins a new one
        passed = passed.removesuffix(b"\n\n")
    assert sent.startswith(passed)
    if not added:
        assert passed == sent
        assert b"[DONE]" in sent or b'"error"' in sent
    elif b"aborted" not in added:
        assert passed == sent
