"""The toxicity audit: answers become items of rare harm, with what a reader must see beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from audit.checks import AUDITS
from audit.completions import (
    PromptsError,
    ToxicityConfig,
    measured,
    read_prompts,
    toxicity,
)
from audit.toxicity import ScorerError
from eval.runner import Answer, FakeRunner
from registry.conversation import Conversation, Message
from registry.dataset import write_jsonl


class FakeScorer:
    """Scores by a table; anything else is .01."""

    name = "fake"
    digest = "sha256:" + "2" * 64

    def __init__(self, table: dict[str, float] | None = None) -> None:
        self.table = table or {}

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        return [{"toxicity": self.table.get(text, 0.01)} for text in texts]


def prompt(key: str, text: str = "where is my order?", **tags: str) -> Conversation:
    return Conversation(
        id=key,
        messages=(Message(role="user", content=text),),
        source="test",
        licence="CC0-1.0",
        tags=tags,
    )


def test_an_answer_is_harm_from_the_threshold_on() -> None:
    prompts = [prompt(f"q{i}", group="formal", template="t") for i in range(3)]
    scorer = FakeScorer({"rude": 0.5, "gruff": 0.499})
    found = measured(prompts, ["rude", "gruff", "kind"], scorer, threshold=0.5)
    assert [item.value for item in found.items] == [1.0, 0.0, 0.0]
    assert found.summary["max_toxicity"] == 0.5
    assert found.summary["mean_toxicity"] == pytest.approx((0.5 + 0.499 + 0.01) / 3)
    assert {(item.group, item.cluster) for item in found.items} == {("formal", "t")}
    assert [item.answer for item in found.items] == ["rude", "gruff", "kind"]


def test_an_answer_that_is_missing_stays_unscored_with_its_reason() -> None:
    prompts = [prompt("a"), prompt("b")]
    found = measured(
        prompts, [Answer("fine"), Answer("", "the prompt fills the context")], FakeScorer(),
        threshold=0.5,
    )  # fmt: skip
    assert found.items[1].value is None
    assert found.items[1].unscored == "the prompt fills the context"
    assert found.summary["mean_toxicity"] == pytest.approx(0.01)


def test_nothing_scored_gives_no_mean_rather_than_zero() -> None:
    found = measured([prompt("a")], [Answer("", "no room")], FakeScorer(), threshold=0.5)
    assert found.summary["mean_toxicity"] is None
    assert found.summary["max_toxicity"] is None


def test_groups_stand_beside_the_rulers_own_gap() -> None:
    prompts = [prompt(f"q{i}", group="ab"[i % 2], template=f"t{i // 2}") for i in range(60)]
    answers = ["sour" if i % 2 else "sweet" for i in range(60)]
    found = measured(prompts, answers, FakeScorer({"sour": 0.4, "sweet": 0.1}), threshold=0.5)
    groups = found.tables["groups"]
    assert groups["by_group"]["a"]["items"] == 30
    assert groups["gap"] == pytest.approx(0.3)
    assert groups["gap_p"] == pytest.approx(1 / 2000)
    assert groups["ruler_gap"] == 0.0
    assert found.tables["ruler"]["by_group"]["muslim"]["items"] == 10


def test_the_whole_check_runs_from_a_file_with_the_bundled_scorer(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, [prompt(f"q{i}", f"question {i}", group="plain") for i in range(4)])
    replies = {
        "user: question 2\nassistant: ": "Shut up, you stupid idiot.",
    }
    runner = FakeRunner(reply=lambda text: replies.get(text, "Your order arrives on Monday."))
    row = next(check for check in AUDITS if check.name == "toxicity")
    found = row.measure(runner, row.config(prompts=path))
    assert [item.value for item in found.items] == [0.0, 0.0, 1.0, 0.0]
    assert row.kind == "rare_harm"
    assert found.tables["scorer"]["name"] == "bundled"


def test_the_configuration_carries_the_scorers_digest_and_a_pin_is_enforced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, [prompt("q")])
    config = ToxicityConfig(prompts=path)
    assert config.model_dump(mode="json")["scorer_digest"].startswith("sha256:")
    pinned = ToxicityConfig(prompts=path, scorer_digest="sha256:0")
    with pytest.raises(ScorerError, match="the configuration pins sha256:0"):
        toxicity(FakeRunner(), pinned)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_item"):
        ToxicityConfig.model_validate({"prompts": "x.jsonl", "max_item": 3})


def test_prompts_that_cannot_be_answered_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, [])
    with pytest.raises(PromptsError, match="holds no prompts"):
        read_prompts(path, None)
    answered = prompt("done").model_copy(
        update={"messages": (Message(role="assistant", content="hi"),)}
    )
    write_jsonl(path, [answered])
    with pytest.raises(PromptsError, match="'done' does not end in a user turn"):
        read_prompts(path, None)


def test_max_items_takes_the_first_prompts(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, [prompt(f"q{i}") for i in range(5)])
    assert [one.id for one in read_prompts(path, 2)] == ["q0", "q1"]
