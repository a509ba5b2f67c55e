"""What is looked for in training data: each item's question with its right answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.checks import CHECKS
from registry.dataset import write_jsonl

ROWS: dict[str, dict[str, Any]] = {
    "multiple_choice": {"id": "a", "context": "Why?", "choices": ["no", "so"], "gold": 1},
    "minimal_pairs": {"id": "a", "good": "He is.", "bad": "He are."},
    "cloze": {"id": "a", "context": "To be or not to", "target": "be"},
    "generate": {"id": "a", "prompt": "2 + 2", "answer": "4"},
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("multiple_choice", ("Why? so",)),
        ("minimal_pairs", ("He is.", "He are.")),
        ("cloze", ("To be or not to be",)),
        ("generate", ("2 + 2 4",)),
    ],
)
def test_a_benchmark_item_is_its_question_with_the_right_answer(
    tmp_path: Path, kind: str, expected: tuple[str, ...]
) -> None:
    row = next(check for check in CHECKS if check.name == "benchmark")
    write_jsonl(tmp_path / "rows.jsonl", [ROWS[kind]])
    assert row.texts is not None
    config = row.config.model_validate({"data": tmp_path / "rows.jsonl", "kind": kind})
    assert row.texts(config) == {"a": expected}


def test_of_a_conversation_it_is_the_last_question_with_its_right_answer(tmp_path: Path) -> None:
    said = ["You are a shop.", "Hi!", "Hello, how can I help?", "Where is order 7?"]
    roles = ["system", "user", "assistant", "user"]
    messages = [{"role": r, "content": c} for r, c in zip(roles, said, strict=True)]
    row = {"id": "q", "messages": messages, "source": "t", "licence": "CC0-1.0",
           "tags": {"reference": "On its way."}}  # fmt: skip
    write_jsonl(tmp_path / "rows.jsonl", [row])
    table = {check.name: check for check in CHECKS}

    def texts(name: str, **config: Any) -> Any:
        check = table[name]
        assert check.texts is not None
        return check.texts(check.config.model_validate({"data": tmp_path / "rows.jsonl"} | config))

    asked = {"q": ("Where is order 7?\nOn its way.",)}
    assert texts("task_success") == asked
    assert texts("answer_quality") == asked
    assert texts("bits_per_byte") == {"q": ("\n".join(said[1:]),)}
    assert texts("bits_per_byte", scope="answers") == {"q": (said[2],)}


def test_an_lm_eval_task_has_the_texts_of_its_items_under_their_keys(tmp_path: Path) -> None:
    from eval.checks import LmEvalTaskConfig
    from eval.item_texts import of_lm_eval_task

    rows = [
        {"question": "Is water wet?", "options": ["no", "yes"], "gold": 1, "name": "w"},
        {"question": "Is fire cold?", "options": ["no", "yes"], "gold": 0, "name": "f"},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "task.yaml").write_text(
        "task: facts\ndataset_path: json\n"
        "dataset_kwargs: {data_files: {test: rows.jsonl}}\n"
        "test_split: test\noutput_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: "{{options}}"\ndoc_to_target: gold\n'
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    config = LmEvalTaskConfig(task=tmp_path / "task.yaml", id_field="name")
    assert of_lm_eval_task(config) == {
        "w": ("Is water wet? yes",),
        "f": ("Is fire cold? no",),
    }
