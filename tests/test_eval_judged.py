"""Answers judged by a model through ragas: every row accounted for, every failure told.

The judge here is a fake behind a real seam: a small HTTP server on a free port that speaks
the chat completions and embeddings API with scripted answers. ragas, instructor and
openai's client are the real ones.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from eval.checks import CHECKS, judged_quality
from eval.endpoint import EndpointError
from eval.judge_accuracy import accuracy_of
from eval.judging import JudgedQualityConfig
from eval.measure import entry_digest
from eval.plan import count_items
from eval.policy import load_policy
from eval.policy_yaml import PolicyError
from eval.report import table_lines
from eval.rows import RowsError
from eval.runner import FakeRunner
from registry.dataset import DatasetError
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


def test_a_row_scores_the_share_of_its_statements_that_the_context_supports(
    server: FakeJudge, four_rows: Path
) -> None:
    server.reply = faithful
    runner = answering(
        "Open on Monday.",
        "Open on Monday. Open on Tuesday.",
        "Open on Tuesday.",
        "Open on Monday. Closed on Sunday. Open on Tuesday.",
    )
    measured = judged_quality(runner, config(four_rows, server))
    assert [item.key for item in measured.items] == ["row-0", "row-1", "row-2", "row-3"]
    assert [item.value for item in measured.items] == [1.0, 0.5, 0.0, pytest.approx(2 / 3)]
    assert measured.items[1].answer == "Open on Monday. Open on Tuesday."
    assert measured.summary["faithfulness"] == pytest.approx((1 + 0.5 + 0 + 2 / 3) / 4)
    assert measured.summary["judge_calls"] == 8  # statements and verdicts of each row
    assert measured.summary["judge_failures"] == 0
    assert measured.summary["judge_seconds"] is not None


def test_errors_garbage_and_nothing_to_judge_cost_their_own_row_only(
    server: FakeJudge, four_rows: Path
) -> None:
    def reply(prompt: str) -> Any:
        row = given(prompt)
        if "question" in row and "1" in row["question"]:
            return 500, "out of memory"
        if "question" in row and "2" in row["question"]:
            return "I like turtles."
        if "question" in row and "3" in row["question"]:
            return {"statements": []}
        return faithful(prompt)

    server.reply = reply
    measured = judged_quality(answering(*["Open on Monday."] * 4), config(four_rows, server))
    assert [(item.key, item.value, item.unscored) for item in measured.items] == [
        ("row-0", 1.0, None),
        ("row-1", None, "the judge: HTTP 500 (2 tries)"),
        ("row-2", None, "the judge: its answer is not the JSON asked for (2 tries)"),
        ("row-3", None, "the judge found no statement to judge"),
    ]
    assert measured.summary["judge_calls"] == 2 + 2 + 2 + 1
    assert measured.summary["judge_failures"] == 4


def test_a_failure_that_passes_is_tried_again_and_garbage_is_told_so(
    server: FakeJudge, four_rows: Path
) -> None:
    failed: list[str] = []

    def reply(prompt: str) -> Any:
        if len(failed) < 2:
            failed.append(prompt)
            return (429, "slow down") if len(failed) == 1 else "no JSON"
        return faithful(prompt)

    server.reply = reply
    server.headers = {"Retry-After": "0.02"}
    measured = judged_quality(
        answering("Open on Monday."),
        config(four_rows, server, max_items=1, judge={"retries": 2, "concurrency": 1}),
    )
    assert measured.items[0].value == 1.0
    assert measured.summary["judge_failures"] == 2
    assert ["not the JSON asked for" in prompt for prompt in server.prompts] == [
        False, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        ([1], "the judge: 1 verdicts on 2 statements (2 tries)"),
        ([1, 7], "the judge: a verdict of 7, 0 or 1 is asked for (2 tries)"),
    ],
)
def test_verdicts_that_do_not_fit_the_statements_are_no_score(
    server: FakeJudge, four_rows: Path, verdicts: list[int], reason: str
) -> None:
    def reply(prompt: str) -> Any:
        row = given(prompt)
        if "answer" in row or "Shut" not in str(row):
            return faithful(prompt)
        rows = [{"statement": "s", "reason": "r", "verdict": v} for v in verdicts]
        return {"statements": rows}

    server.reply = reply  # ragas alone would call these 1.0: one of one, and two of two
    runner = answering("Shut. Open on Monday.", "Open on Monday.")
    measured = judged_quality(runner, config(four_rows, server, max_items=2))
    assert [(item.value, item.unscored) for item in measured.items] == [
        (None, reason),
        (1.0, None),
    ]


def test_a_call_that_takes_too_long_is_given_up(server: FakeJudge, four_rows: Path) -> None:
    server.reply = lambda p: "silence" if "Question 1" in p else faithful(p)
    measured = judged_quality(
        answering("Open on Monday.", "Open on Monday."),
        config(four_rows, server, max_items=2, judge={"timeout_seconds": 3, "retries": 0}),
    )
    assert [item.unscored for item in measured.items] == [
        None,
        "the judge: no answer within 3 s",
    ]


def test_no_more_calls_are_under_way_than_allowed(server: FakeJudge, four_rows: Path) -> None:
    server.reply = faithful
    server.wait_for = 2  # the first call waits for the second, however slow the machine
    runner = answering(*["Open on Monday."] * 4)
    judged_quality(runner, config(four_rows, server, judge={"concurrency": 2}))
    assert server.most_under_way == 2


def test_a_silent_or_contextless_row_is_never_sent_to_the_judge(
    server: FakeJudge, tmp_path: Path
) -> None:
    server.reply = faithful
    rows = [
        grounded("silent", "Open on Monday.", "Question 0?", "x"),
        dialogue("contextless", "Question 1?", "x"),
        grounded("full", "y" * 600, "Question 2?", "x"),
        dialogue("tagged", "Question 3?", "x", contexts=["Closed on Sunday."]),
    ]
    data = write(tmp_path / "rows.jsonl", rows)
    measured = judged_quality(
        answering("  ", "Closed.", "Closed.", "Closed on Sunday."), config(data, server)
    )
    assert [(item.value, item.unscored) for item in measured.items] == [
        (None, "the answer is empty: it states nothing that could be judged"),
        (None, "the row has no context: no system message and no tag named contexts"),
        (None, "the prompt fills the context"),
        (1.0, None),
    ]
    assert measured.summary["judge_calls"] == 2


def test_a_tag_of_contexts_that_is_no_text_is_named(server: FakeJudge, tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", [dialogue("d", "Question 0?", "x", contexts=[3])])
    with pytest.raises(RowsError, match=r"conversation 'd': tags.contexts is '\[3\]'"):
        judged_quality(answering("x"), config(data, server))


def test_factual_correctness_is_the_f1_of_claims_and_silence_is_worth_nothing(
    server: FakeJudge, tmp_path: Path
) -> None:
    def reply(prompt: str) -> Any:
        row = given(prompt)
        if "response" in row:
            return {"claims": statements_of(row["response"])}
        return verdicts(prompt, lambda claim: claim in row["context"])

    server.reply = reply
    rows = [dialogue(f"row-{i}", f"Question {i}?", "Red. Blue. Green.") for i in range(2)]
    data = write(tmp_path / "rows.jsonl", rows)
    measured = judged_quality(
        answering("Red. Black.", ""), config(data, server, metric="factual_correctness")
    )
    # Of the answer's 2 claims 1 is right, of the reference's 3 claims 1 is said: F1 of 1/2 and
    # 1/3 is .4, which ragas rounds to two places.
    assert [item.value for item in measured.items] == [pytest.approx(0.4), 0.0]


def test_answer_relevancy_is_the_mean_cosine_to_the_questions_the_answer_would_answer(
    server: FakeJudge, tmp_path: Path
) -> None:
    def reply(prompt: str) -> Any:
        evasive = "cannot say" in given(prompt)["response"]
        return {"question": "What is open?", "noncommittal": int(evasive)}

    server.reply = reply
    server.vectors = lambda text: [1.0, 0.0] if "Question" in text else [3.0, 4.0]
    rows = [dialogue(f"row-{i}", f"Question {i}?", "x") for i in range(2)]
    measured = judged_quality(
        answering("The shop.", "I cannot say."),
        config(
            write(tmp_path / "rows.jsonl", rows),
            server,
            metric="answer_relevancy",
            embeddings={"base_url": server.base_url, "model": "e"},
        ),
    )
    assert [item.value for item in measured.items] == [pytest.approx(0.6), 0.0]
    assert measured.summary["judge_calls"] == 2 * (3 + 2)  # three questions, two embeddings


def test_metrics_of_the_data_ask_the_model_nothing_and_say_so(
    server: FakeJudge, tmp_path: Path
) -> None:
    def reply(prompt: str) -> Any:
        useful = "Monday" in given(prompt)["context"]
        return {"reason": "r", "verdict": int(useful)}

    server.reply = reply
    row = dialogue("d", "Question 0?", "On Monday.", contexts=["Sunday.", "Open on Monday."])
    data = write(tmp_path / "rows.jsonl", [row])
    runner = answering("never asked")
    measured = judged_quality(runner, config(data, server, metric="context_precision"))
    assert measured.items[0].value == 0.5  # the useful context stands second: 1/2
    assert (runner.calls, measured.items[0].answer) == (0, None)
    assert "judges the data" in measured.tables["judge"]["note"]


def test_context_recall_and_utilization_follow_their_definitions(
    server: FakeJudge, tmp_path: Path
) -> None:
    def reply(prompt: str) -> Any:
        row = given(prompt)
        if "classif" in prompt:
            return {
                "classifications": [
                    {"statement": s, "reason": "r", "attributed": int(s in row["context"])}
                    for s in statements_of(row["answer"])
                ]
            }
        return {"reason": "r", "verdict": int(row["answer"] in row["context"])}

    server.reply = reply
    row = dialogue("d", "Question 0?", "Red. Blue.", contexts=["Red one.", "White one."])
    data = write(tmp_path / "rows.jsonl", [row])
    recall = judged_quality(answering(""), config(data, server, metric="context_recall"))
    assert recall.items[0].value == 0.5  # Red of Red and Blue
    used = judged_quality(answering("Red"), config(data, server, metric="context_utilization"))
    assert used.items[0].value == pytest.approx(1.0)  # the useful one stands first


def test_the_key_goes_to_the_judge_and_nowhere_else(
    server: FakeJudge,
    four_rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def reply(prompt: str) -> Any:  # a server that prints what it should not
        row = str(given(prompt))
        if "Question 1" in row:
            return 400, f"bad request from Bearer {KEY}"
        return (500, f"key {KEY}") if "Question 2" in row else faithful(prompt)

    server.reply = reply
    settings = config(four_rows, server, judge={"api_key_env": "JUDGE_KEY"})
    with caplog.at_level(logging.INFO):
        measured = judged_quality(answering(*["Open on Monday."] * 4), settings)
    assert server.keys == {f"Bearer {KEY}"}
    assert measured.items[1].unscored is not None
    assert "HTTP 400" in measured.items[1].unscored
    assert measured.items[2].unscored == "the judge: HTTP 500 (2 tries)"
    stored, _ = entry_digest(Entry(settings))
    assert KEY not in repr(measured) + caplog.text + json.dumps(stored)
    assert "JUDGE_KEY" not in json.dumps(stored)


class Entry:
    """What ``entry_digest`` needs of a policy's entry."""

    name = "e"
    check = "judged_quality"

    def __init__(self, config: JudgedQualityConfig) -> None:
        self.config = config


def test_without_a_key_of_its_own_the_judge_never_gets_anothers(
    server: FakeJudge, four_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.reply = faithful
    judged_quality(answering("Open on Monday."), config(four_rows, server, max_items=1))
    assert server.keys == {"Bearer none"}


def test_a_key_that_is_not_set_is_an_error_before_the_model_is_asked(
    server: FakeJudge, four_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    runner = answering("x")
    with pytest.raises(EndpointError, match=r"variable JUDGE_KEY is not set; .* judge-1 at 127"):
        judged_quality(runner, config(four_rows, server, judge={"api_key_env": "JUDGE_KEY"}))
    assert runner.calls == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key in JUDGE_KEY (HTTP 401); check api_key_env"),
        (404, "is not there (HTTP 404); check model, and base_url up to its /v1"),
    ],
)
def test_a_judge_that_turns_the_first_calls_down_is_an_error_and_no_evidence(
    server: FakeJudge, four_rows: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server.reply = lambda prompt: (status, f"not with {KEY}")
    settings = config(four_rows, server, judge={"api_key_env": "JUDGE_KEY", "concurrency": 1})
    with pytest.raises(EndpointError) as raised:
        judged_quality(answering(*["Open."] * 4), settings)
    assert said in str(raised.value)
    assert KEY not in str(raised.value)
    assert len(server.prompts) == 1  # not once for every row


def test_a_judge_that_is_not_there_or_fails_on_all_rows_is_an_error_and_no_evidence(
    server: FakeJudge, four_rows: Path
) -> None:
    server.reply = lambda prompt: (503, "starting")
    settings = config(four_rows, server, judge={"retries": 0})
    with pytest.raises(EndpointError, match=r"could judge none of 4 rows; first: .*HTTP 503"):
        judged_quality(answering(*["Open."] * 4), settings)
    away = config(four_rows, server, judge={"base_url": "http://127.0.0.1:9/v1", "retries": 0})
    with pytest.raises(EndpointError, match=r"judge-1 at 127.0.0.1:9 cannot be reached; start it"):
        judged_quality(answering(*["Open."] * 4), away)


def digest(settings: JudgedQualityConfig) -> str:
    return entry_digest(Entry(settings))[1]


def test_another_judge_host_model_or_metric_is_another_measurement(
    server: FakeJudge, four_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = digest(config(four_rows, server))
    others = [
        digest(config(four_rows, server, judge={"model": "judge-2"})),
        digest(config(four_rows, server, judge={"name": "the same, retrained"})),
        digest(config(four_rows, server, judge={"base_url": "http://127.0.0.1:9/v1"})),
        digest(config(four_rows, server, metric="context_utilization")),
    ]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.4.4")  # other prompts
    others.append(digest(config(four_rows, server)))
    assert len({one, *others}) == 6


def test_how_many_calls_at_once_and_where_the_key_is_change_no_digest(
    server: FakeJudge, four_rows: Path
) -> None:
    other = config(four_rows, server, judge={"concurrency": 16, "api_key_env": "OTHER"})
    assert digest(other) == digest(config(four_rows, server))


def calibration(path: Path, *counts: int, **more: Any) -> Path:
    """``counts`` of (judge, people): (1, 1), (1, 0), (0, 1), (0, 0)."""
    kinds = [(0.9, 1), (0.9, 0), (0.2, 1), (0.2, 0)]
    rows = [pair for pair, count in zip(kinds, counts, strict=True) for _ in range(count)]
    return write(
        path, [{"item": f"i{i}", "judge": j, "human": h} | more for i, (j, h) in enumerate(rows)]
    )


def test_with_a_calibration_items_are_passes_and_the_judges_errors_are_in_the_evidence(
    server: FakeJudge, four_rows: Path, tmp_path: Path
) -> None:
    server.reply = faithful
    file = calibration(tmp_path / "c.jsonl", 45, 3, 5, 17)
    measured = judged_quality(
        answering("Open on Monday.", "Open on Monday. No.", "No.", "Open on Monday. Yes. No."),
        config(four_rows, server, calibration=file, threshold=0.5),
    )
    assert [item.value for item in measured.items] == [1.0, 1.0, 0.0, 0.0]
    judge = accuracy_of(measured.tables)
    assert judge is not None
    assert (judge.sensitivity, judge.specificity) == (0.9, 0.85)
    shown = "\n".join(table_lines("judge", measured.tables["judge"]))
    assert "sensitivity: 0.9" in shown
    assert "intervals are corrected for the errors" in shown


def test_without_a_calibration_the_report_says_that_nobody_measured_the_judge(
    server: FakeJudge, four_rows: Path
) -> None:
    server.reply = faithful
    measured = judged_quality(answering("Open on Monday."), config(four_rows, server, max_items=1))
    shown = "\n".join(table_lines("judge", measured.tables["judge"]))
    assert "the judge was not measured against people" in shown
    assert "model: judge-1" in shown
    assert accuracy_of(measured.tables) is None


def test_a_judge_no_better_than_a_coin_is_not_asked_at_all(
    server: FakeJudge, four_rows: Path, tmp_path: Path
) -> None:
    file = calibration(tmp_path / "c.jsonl", 10, 10, 10, 10)
    runner = answering("x")
    measured = judged_quality(runner, config(four_rows, server, calibration=file, threshold=0.5))
    assert {item.value for item in measured.items} == {None}
    assert "no better than a coin" in (measured.items[0].unscored or "")
    assert (server.prompts, runner.calls) == ([], 0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"item": "a", "judge": 1.2, "human": 1}, r"c.jsonl:2: judge: .*less than or equal to 1"),
        ({"item": "a", "judge": 1}, r"c.jsonl:2: human: Field required"),
        ({"item": "a", "judge": 1, "human": "yes"}, r"c.jsonl:2: human: .*valid number"),
        ({"item": "i0", "judge": 1, "human": 1}, r"c.jsonl: row 2: item 'i0' stands twice"),
        (
            {"item": "a", "judge": 1, "human": 1, "model": "judge-2"},
            r"row 2: these are judgements of 'judge-2', the judge is 'judge-1'",
        ),
    ],
)
def test_a_malformed_calibration_is_named_by_file_row_and_value(
    server: FakeJudge, four_rows: Path, tmp_path: Path, line: dict[str, Any], said: str
) -> None:
    file = write(tmp_path / "c.jsonl", [{"item": "i0", "judge": 1, "human": 1}, line])
    with pytest.raises((DatasetError, RowsError), match=said):
        judged_quality(answering("x"), config(four_rows, server, calibration=file, threshold=0.5))
    assert server.prompts == []


def policy_of(folder: Path, entry_config: str) -> Path:
    write(folder / "rows.jsonl", [dialogue("d", "q", "a")])
    path = folder / "p.yaml"
    path.write_text(
        "schema_version: 1\nname: p\nentries:\n  - name: judged\n    check: judged_quality\n"
        f"    config: {entry_config}\n"
        "    tier: required\n    margin: 0.1\n    min_items: 1\n    reason: r\n    owner: o\n"
    )
    return path


JUDGE = "judge: {name: j, model: m, base_url: 'http://h:1/v1'}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (f"{{data: rows.jsonl, metric: faith, {JUDGE}}}", "config.metric: got 'faith': input"),
        ("{data: rows.jsonl, metric: faithfulness}", "config.judge: is missing"),
        (f"{{data: rows.jsonl, metric: answer_relevancy, {JUDGE}}}", "set embeddings"),
        (f"{{data: rows.jsonl, metric: faithfulness, threshold: 0.5, {JUDGE}}}", "set both"),
        (
            "{data: rows.jsonl, metric: faithfulness, judge: {name: j, model: m, base_url: h/v1}}",
            "base_url starts with http",
        ),
        (
            "{data: rows.jsonl, metric: faithfulness, "
            f"judge: {{name: j, model: m, base_url: 'http://h/v1', api_key: {KEY}}}}}",
            "no such key 'api_key'; have api_key_env",
        ),
        (
            "{data: rows.jsonl, metric: faithfulness, "
            f"judge: {{name: j, model: m, base_url: 'http://h/v1', api_key_env: {KEY}}}}}",
            "never write the key itself",
        ),
        (
            "{data: rows.jsonl, metric: faithfulness, "
            f"judge: {{name: j, model: m, base_url: 'http://me:{KEY}@h/v1'}}}}",
            "base_url holds no user",
        ),
    ],
)
def test_a_policy_that_misdescribes_its_judge_is_refused_by_line_and_key(
    tmp_path: Path, settings: str, said: str
) -> None:
    with pytest.raises(PolicyError) as raised:
        load_policy(policy_of(tmp_path, settings), CHECKS, Path)
    assert str(raised.value).startswith(f"{tmp_path}/p.yaml:6: entry judged, config")
    assert said in str(raised.value)
    assert KEY not in str(raised.value)


def test_the_entries_in_the_documentation_are_entries_of_a_policy(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "gate.md").read_text()
    blocks = [text.split("```")[0] for text in page.split("```yaml\n")[1:]]
    entries = [b for b in blocks if "check: judged_quality" in b or "check: human_ratings" in b]
    write(tmp_path / "faithfulness-labels.jsonl", [])
    (tmp_path / "ratings-2026-05.csv").write_text("")
    path = tmp_path / "p.yaml"
    path.write_text("schema_version: 1\nname: p\nentries:\n" + "".join(entries))
    loaded = load_policy(path, CHECKS, lambda reference: tmp_path / reference)
    assert [entry.check for entry in loaded.entries] == ["judged_quality", "human_ratings"]


def test_planning_counts_the_data_and_not_the_calibration(tmp_path: Path) -> None:
    calibration(tmp_path / "c.jsonl", 5, 1, 1, 5)
    settings = (
        f"{{data: rows.jsonl, metric: faithfulness, calibration: c.jsonl, threshold: 0.5, {JUDGE}}}"
    )
    policy = load_policy(policy_of(tmp_path, settings), CHECKS, Path)
    assert count_items(policy) == {"judged": 1}


def test_a_configuration_error_never_prints_what_was_written(four_rows: Path) -> None:
    judge = {"name": "j", "model": "m", "base_url": f"http://u:{KEY}@h/v1"}
    with pytest.raises(ValidationError) as raised:
        JudgedQualityConfig.model_validate(
            {"data": four_rows, "metric": "faithfulness", "judge": judge}
        )
    assert KEY not in str(raised.value)
