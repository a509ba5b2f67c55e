"""Simulated users of a served model: they ask, read, and say what they think.

Their rule is the generator's (`train.synth.prefers`): a thumb up where the answer is all
they wanted, a thumb down otherwise, and often the answer that they would have liked.
They talk to the server with the ordinary `openai` client, half of them streaming.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from openai import AsyncOpenAI

from commands.session import ProgressCallback
from registry.conversation import Conversation
from train import synth

THUMB_RATE = 0.9
EDIT_RATE = 0.8


@dataclass
class Visits:
    """What happened: counts over all requests."""

    requests: int = 0
    failed: int = 0
    thumbs_up: int = 0
    thumbs_down: int = 0
    edits: int = 0


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
    *,
    num_users: int,
    seed: int,
    concurrency: int = 16,
    progress: ProgressCallback | None = None,
) -> Visits:
    """Each question is asked by one of ``num_users`` users, who then may react."""
    rng = np.random.default_rng(seed)
    draws = rng.random((len(questions), 2))
    visits = Visits()
    gate = asyncio.Semaphore(concurrency)
    client = AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)

    async def say(request_id: str, body: dict[str, object]) -> None:
        await client.post("/feedback", body={"request_id": request_id, **body}, cast_to=object)

    async def one(index: int, question: Conversation) -> None:
        async with gate:
            try:
                answer, request_id = await _ask(
                    client, model, question, f"user-{index % num_users}", stream=index % 2 == 0
                )
            except Exception:  # noqa: BLE001 - whatever a user meets counts as a failure
                visits.failed += 1
                return
            finally:
                visits.requests += 1
                if progress:
                    progress(visits.requests, len(questions))
            content = synth.prefers(question.tags, answer) >= 1.0
            if draws[index, 0] < THUMB_RATE:
                await say(request_id, {"kind": "thumb", "value": 1 if content else -1})
                visits.thumbs_up += content
                visits.thumbs_down += not content
            if not content and draws[index, 1] < EDIT_RATE:
                text = synth.edit(question.tags, answer)
                await say(request_id, {"kind": "edit", "text": text})
                visits.edits += 1

    await asyncio.gather(*(one(index, question) for index, question in enumerate(questions)))
    await client.close()
    return visits
