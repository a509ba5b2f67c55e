"""Answers judged by a model through ragas: every row accounted for, every failure told.

The judge here is a fake behind a real seam: a small HTTP server on a free port that speaks
the chat completions and embeddings API with scripted answers. ragas, instructor and
openai's client are the real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.checks import Measured, judged_quality
from eval.endpoint import EndpointError
from eval.resume import LocalPool, ResumableRunner
from eval.rows import RowsError
from tests.judges import (
    FakeJudge,
    answering,
    config,
    faithful,
    four_rows,
    given,
    grounded,
    quick,
    server,
    statements_of,
    verdicts,
)
from tests.test_eval_answers import dialogue, write

__all__ = ["four_rows", "quick", "server"]  # fixtures


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


def test_an_interrupted_judgement_goes_on_and_pays_for_no_value_twice(
    server: FakeJudge, four_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.judged.ROWS_PER_SLOT", 1)
    settings = config(four_rows, server, judge={"concurrency": 1, "retries": 0})
    journal, seen = tmp_path / "journal", list[tuple[int, int]]()

    def measure(journal: Path) -> Measured:
        pool = LocalPool(answering(*["Open on Monday."] * 4))
        return judged_quality(
            ResumableRunner(pool, journal, advance=lambda *at: seen.append(at)), settings
        )

    def failing(prompt: str) -> Any:
        if "Question 1" in prompt:
            return 500, "out of memory"
        return (401, "your key has run out") if "Question 3" in prompt else faithful(prompt)

    server.reply = failing
    with pytest.raises(EndpointError, match="refuses calls without key"):
        measure(journal)
    assert seen[-3:] == [(1, 4), (2, 4), (3, 4)]
    server.reply, server.prompts = faithful, []
    resumed = measure(journal)
    assert resumed.summary["judge_calls"] == 4  # statements and verdicts of rows 1 and 3
    assert not [prompt for prompt in server.prompts if "Question 0" in prompt]
    assert resumed.items == measure(tmp_path / "another").items


def test_what_one_judge_said_is_not_taken_for_another_judges_word(
    server: FakeJudge, four_rows: Path, tmp_path: Path
) -> None:
    server.reply = faithful
    for name in ("judge of May", "judge of June"):
        runner = ResumableRunner(
            LocalPool(answering(*["Open on Monday."] * 4)), tmp_path / "journal"
        )
        measured = judged_quality(runner, config(four_rows, server, judge={"name": name}))
        assert measured.summary["judge_calls"] == 8


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
