"""The judge's key, address, calibration and place in a policy: what is refused and what is kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
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
from registry.dataset import DatasetError
from tests.judges import (
    KEY,
    Entry,
    FakeJudge,
    answering,
    calibration,
    config,
    digest,
    faithful,
    four_rows,
    given,
    quick,
    server,
)
from tests.test_eval_answers import dialogue, write

__all__ = ["four_rows", "quick", "server"]  # fixtures


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
