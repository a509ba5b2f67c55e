"""Users of a served model: they ask, read, and perhaps say what they think.

They talk to the server with the ordinary `openai` client, half of them streaming. Those
of the demo are simulated, and their rule is the generator's (`train.synth.prefers`): a
thumb up where the answer is all they wanted, a thumb down otherwise, and often the
answer that they would have liked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from openai import AsyncOpenAI, OpenAIError

from commands.session import ProgressCallback
from registry.conversation import Conversation
from train import synth

THUMB_RATE = 0.9
EDIT_RATE = 0.8

Feedback = dict[str, Any]
React = Callable[[int, Conversation, str], list[Feedback]]


@dataclass
class Visits:
    """What happened: requests, failures by kind, and feedback by kind."""

    requests: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    feedback: Counter[str] = field(default_factory=Counter)


def rule_reaction(num_questions: int, seed: int) -> React:
    """How simulated users react to an answer, by the generator's rule and some chance."""
    draws = np.random.default_rng(seed).random((num_questions, 2))

    def react(index: int, question: Conversation, answer: str) -> list[Feedback]:
        content = synth.prefers(question.tags, answer) >= 1.0
        said: list[Feedback] = []
        if draws[index, 0] < THUMB_RATE:
            said.append({"kind": "thumb", "value": 1 if content else -1})
        if not content and draws[index, 1] < EDIT_RATE:
            said.append({"kind": "edit", "text": synth.edit(question.tags, answer)})
        return said

    return react


def say_nothing(index: int, question: Conversation, answer: str) -> list[Feedback]:
    return []


async def _ask(
    client: AsyncOpenAI, model: str, question: Conversation, unit: str, *, stream: bool
) -> tuple[str, str]:
    """The answer and its request id."""
    wanted: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in question.messages],
        "max_tokens": 96,
        "temperature": 0.7,
        "extra_headers": {"x-hallmark-unit": unit},
    }
    chat = client.chat.completions.with_raw_response
    if not stream:
        whole = await chat.create(**wanted)
        return whole.parse().choices[0].message.content or "", whole.headers["x-request-id"]
    pieces = []
    events = await chat.create(**wanted, stream=True)
    async for event in events.parse():
        if event.choices and event.choices[0].delta.content:
            pieces.append(event.choices[0].delta.content)
    return "".join(pieces), events.headers["x-request-id"]


async def visit(
    base_url: str,
    model: str,
    questions: Sequence[Conversation],
    react: React,
    *,
    num_users: int,
    concurrency: int = 16,
    progress: ProgressCallback | None = None,
) -> Visits:
    """Each question is asked by one of ``num_users`` users, who then reacts."""
    visits = Visits()
    places = asyncio.Semaphore(concurrency)
    client = AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)

    async def one(index: int, question: Conversation) -> None:
        unit = f"user-{index % num_users}"
        async with places:
            try:
                answer, request_id = await _ask(
                    client, model, question, unit, stream=index % 2 == 0
                )
                for said in react(index, question, answer):
                    body = {"request_id": request_id, **said}
                    await client.post("/feedback", body=body, cast_to=object)
                    visits.feedback[_kind(said)] += 1
            except OpenAIError as error:
                visits.failures[type(error).__name__] += 1
            visits.requests += 1
            if progress:
                progress(visits.requests, len(questions))

    await asyncio.gather(*(one(index, question) for index, question in enumerate(questions)))
    await client.close()
    return visits


def _kind(said: Feedback) -> str:
    if said["kind"] != "thumb":
        return str(said["kind"])
    return "thumb up" if said["value"] > 0 else "thumb down"
