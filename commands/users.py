"""Simulated users of a served model: they ask, read, and say what they think.

Their rule is the generator's (`train.synth.prefers`): a thumb up where the answer is all
they wanted, a thumb down otherwise, and often the answer that they would have liked.
They talk to the server with the ordinary `openai` client, half of them streaming.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

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
    messages = [{"role": m.role, "content": m.content} for m in question.messages]
    raw = await client.chat.completions.with_raw_response.create(
        model=model,
        messages=messages,  # type: ignore[arg-type]  # plain dicts are what users send
        max_tokens=96,
        temperature=0.7,
        stream=stream,
        extra_headers={"x-hallmark-unit": unit},
    )
    request_id = raw.headers["x-request-id"]
    if not stream:
        return raw.parse().choices[0].message.content or "", request_id
    pieces = []
    async for event in raw.parse():  # type: ignore[attr-defined]  # a stream when asked for one
        if event.choices and event.choices[0].delta.content:
            pieces.append(event.choices[0].delta.content)
    return "".join(pieces), request_id


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
