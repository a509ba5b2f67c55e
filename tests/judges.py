"""A judge that is asked over HTTP, scripted: a chat completions server on a free port."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from eval.judging import JudgedQualityConfig
from eval.measure import entry_digest
from eval.runner import FakeRunner
from tests.test_eval_answers import dialogue, write

KEY = "sk-very-secret-0123456789"

Reply = Callable[[str], Any]  # the prompt -> what the judge says, or (status, body)


class FakeJudge:
    """A chat completions server whose answers a function of the prompt decides."""

    def __init__(self) -> None:
        self.reply: Reply = lambda prompt: {}
        self.vectors: Callable[[str], list[float]] = lambda text: [1.0, 0.0]
        self.headers: dict[str, str] = {}
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.under_way = self.most_under_way = self.wait_for = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.keys.add(request.headers.get("Authorization", ""))
        prompt = body["messages"][-1]["content"]
        self.prompts.append(prompt)
        self.bodies.append(body)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        while self.most_under_way < self.wait_for:
            await asyncio.sleep(0.01)
        said = self.reply(prompt)
        if said == "silence":
            await asyncio.sleep(30)
        self.under_way -= 1
        if isinstance(said, tuple):
            status, text = said
            return web.json_response(
                {"error": {"message": text}}, status=status, headers=self.headers
            )
        content = said if isinstance(said, str) else json.dumps(said)
        return web.json_response(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": content},
                    }
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    async def _embed(self, request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        texts = [texts] if isinstance(texts, str) else texts
        data = [
            {"object": "embedding", "index": i, "embedding": self.vectors(text)}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": data, "model": "e", "usage": usage})


@pytest.fixture
def server() -> Iterator[FakeJudge]:
    fake = FakeJudge()
    yield fake
    fake.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are real, but short."""
    monkeypatch.setattr("eval.judge_calls.FIRST_WAIT_SECONDS", 0.01)


def given(prompt: str) -> dict[str, Any]:
    """The input of this row, out of the prompt that ragas wrote."""
    after = prompt.split("Now perform the same with the following input")[1]
    found: dict[str, Any] = json.JSONDecoder().raw_decode(after.split("input: ", 1)[1])[0]
    return found


def verdicts(prompt: str, right: Callable[[str], bool]) -> dict[str, Any]:
    return {
        "statements": [
            {"statement": s, "reason": "so it is", "verdict": int(right(s))}
            for s in given(prompt)["statements"]
        ]
    }


def statements_of(text: str) -> list[str]:
    return [part.strip() for part in text.split(".") if part.strip()]


def faithful(prompt: str) -> dict[str, Any]:
    """A judge that finds a statement supported where it stands in the context."""
    row = given(prompt)
    if "answer" in row:
        return {"statements": statements_of(row["answer"])}
    return verdicts(prompt, lambda statement: statement in row["context"])


def grounded(name: str, knowledge: str, question: str, reference: str) -> dict[str, Any]:
    row = dialogue(name, question, reference)
    row["messages"].insert(0, {"role": "system", "content": knowledge})
    return row


def config(data: Path, server: FakeJudge, **more: Any) -> JudgedQualityConfig:
    judge = {"name": "fake", "model": "judge-1", "base_url": server.base_url, "retries": 1}
    judge |= more.pop("judge", {})
    return JudgedQualityConfig.model_validate(
        {"data": data, "metric": "faithfulness", "judge": judge} | more
    )


@pytest.fixture
def four_rows(tmp_path: Path) -> Path:
    knowledge = "Open on Monday. Closed on Sunday."
    return write(
        tmp_path / "rows.jsonl",
        [grounded(f"row-{i}", knowledge, f"Question {i}?", "Open on Monday.") for i in range(4)],
    )


def answering(*answers: str) -> FakeRunner:
    """Row i is answered with the i-th of ``answers``."""
    return FakeRunner(reply=lambda prompt: answers[int(prompt.split("Question ")[1].split("?")[0])])


class Entry:
    """What ``entry_digest`` needs of a policy's entry."""

    name = "e"
    check = "judged_quality"

    def __init__(self, config: JudgedQualityConfig) -> None:
        self.config = config


def digest(settings: JudgedQualityConfig) -> str:
    return entry_digest(Entry(settings))[1]


def calibration(path: Path, *counts: int, **more: Any) -> Path:
    """``counts`` of (judge, people): (1, 1), (1, 0), (0, 1), (0, 0)."""
    kinds = [(0.9, 1), (0.9, 0), (0.2, 1), (0.2, 0)]
    rows = [pair for pair, count in zip(kinds, counts, strict=True) for _ in range(count)]
    return write(
        path, [{"item": f"i{i}", "judge": j, "human": h} | more for i, (j, h) in enumerate(rows)]
    )
