"""Answer quality by ragas and task success by the generator's rule: every row accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.answers import score_texts
from eval.checks import AnswerQualityConfig, TaskSuccessConfig, answer_quality, task_success
from eval.rows import RowsError
from eval.runner import Answer, FakeRunner
from registry.dataset import write_jsonl

REFERENCE, ANSWER = "the cat sat on the mat", "the cat sat on a mat"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def dialogue(name: str, *turns: str, **tags: object) -> dict[str, Any]:
    """Turns by user and assistant in turn."""
    roles = ["user", "assistant"] * len(turns)
    messages = [{"role": r, "content": t} for r, t in zip(roles, turns, strict=False)]
    return {"id": name, "messages": messages, "source": "test", "licence": "CC0-1.0", "tags": tags}


@pytest.mark.parametrize(
    ("metric", "value"),
    [("bleu", 0.5372850), ("rouge", 0.8333333), ("chrf", 0.6597966)],  # ragas 0.4.3 itself
)
def test_the_metrics_give_their_reference_values(metric: str, value: float) -> None:
    assert score_texts(metric, [(REFERENCE, ANSWER)]) == [(pytest.approx(value, abs=1e-7), None)]


def test_string_similarity_is_one_minus_the_edits_per_character() -> None:
    # "the" to "a" in the longer text of 22 characters: 3 edits (substitute, delete two)
    [(value, _)] = score_texts("string_similarity", [(REFERENCE, ANSWER)])
    assert value == pytest.approx(1 - 3 / 22)


def test_bleu_of_several_sentences_is_that_of_the_whole_text() -> None:
    from sacrebleu import corpus_bleu

    one, other = "Hi there. You are good. Yes.", "Hi there. You are bad."
    expected = corpus_bleu([other], [[one]]).score / 100  # .4835; ragas alone says 0
    assert score_texts("bleu", [(one, other)]) == [(pytest.approx(expected), None)]
    assert expected == pytest.approx(0.4835447, abs=1e-7)


@pytest.mark.parametrize("metric", ["rouge", "bleu", "chrf", "string_similarity"])
def test_equal_texts_score_one_and_silence_scores_nothing(metric: str) -> None:
    text = "Order 4711 arrives on Friday."
    same, silent = score_texts(metric, [(text, text), (text, "")])
    assert same == (pytest.approx(1.0), None)
    assert silent == (0.0, None)


def test_a_row_that_fails_is_unscored_with_its_reason_and_loses_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fails:
        async def ascore(self, reference: str, response: str) -> Any:
            if response == "bad":
                raise ValueError("no such word")
            return type("Result", (), {"value": float("nan") if response == "nan" else 0.5})()

    monkeypatch.setattr("eval.answers._metrics", lambda: {"rouge": Fails})
    pairs = [("r", "good"), ("r", "bad"), ("", "good"), ("r", "nan"), ("r", Answer("", "full"))]
    assert score_texts("rouge", pairs) == [
        (0.5, None),
        (None, "the metric failed: ValueError: no such word"),
        (None, "the row has no reference answer"),
        (None, "the metric gave no number"),
        (None, "full"),
    ]


def test_the_prompt_is_all_before_the_last_assistant_message(tmp_path: Path) -> None:
    asked: list[str] = []

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return ANSWER

    rows = [dialogue("d", "hello", "hi", "where?", REFERENCE), dialogue("e", "q", reference="x y")]
    data = write(tmp_path / "d.jsonl", rows)
    measured = answer_quality(FakeRunner(reply=reply), AnswerQualityConfig(data=data))
    assert asked == [
        "user: hello\nassistant: hi\nuser: where?\nassistant: ",
        "user: q\nassistant: ",
    ]
    first, second = measured.items
    assert first.value == pytest.approx(0.8333333, abs=1e-7)
    assert (first.answer, first.group) == (ANSWER, "test")
    assert second.value == 0.0  # not a word in common with tags["reference"]
    assert measured.summary["rouge"] == pytest.approx(0.8333333 / 2, abs=1e-7)
    assert measured.summary["bleu"] is not None


def test_only_the_last_messages_are_shown_where_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return "ok"

    row = dialogue("d", "one", "two", "three", "four")
    row["messages"].insert(0, {"role": "system", "content": "be kind"})
    config = AnswerQualityConfig(data=write(tmp_path / "d.jsonl", [row]), last_messages=1)
    answer_quality(FakeRunner(reply=reply), config)
    assert asked == ["system: be kind\nuser: three\nassistant: "]


def test_a_dialogue_over_the_context_is_unscored_and_kept(tmp_path: Path) -> None:
    rows = [dialogue("long", "x" * 600, "fine"), dialogue("short", "x", "ok")]
    config = AnswerQualityConfig(data=write(tmp_path / "d.jsonl", rows))
    long, short = answer_quality(FakeRunner(), config).items
    assert (long.value, long.unscored, long.answer) == (None, "the prompt fills the context", None)
    assert short.value == pytest.approx(1.0)


def test_a_conversation_without_a_question_is_named(tmp_path: Path) -> None:
    row = dialogue("d", "x")
    row["messages"] = [{"role": "assistant", "content": "Welcome"}]
    with pytest.raises(RowsError, match="conversation 'd' asks nothing"):
        answer_quality(FakeRunner(), AnswerQualityConfig(data=write(tmp_path / "d.jsonl", [row])))


def test_task_success_is_the_generators_own_ruling(tmp_path: Path) -> None:
    from train.synth import questions

    rows = questions(12, seed=3)
    data = tmp_path / "q.jsonl"
    write_jsonl(data, rows)
    fake = FakeRunner()
    right = {
        fake.render(row.messages, answer_next=True): str(row.tags["reference"]) for row in rows[:9]
    }
    fake.reply = lambda prompt: right.get(prompt, "I like turtles.")
    fake.facts = fake.facts.model_copy(update={"context_length": 4000})
    measured = task_success(fake, TaskSuccessConfig(data=data, max_tokens=400))
    assert [item.value for item in measured.items] == [1.0] * 9 + [0.0] * 3
    assert measured.items[0].group == rows[0].tags["intent"]
    assert measured.items[0].cluster == rows[0].tags["template"]
    assert measured.items[11].answer == "I like turtles."
    assert measured.summary["task_success"] == pytest.approx(0.75)
    assert sum(measured.tables["mistakes"].values()) == 3
