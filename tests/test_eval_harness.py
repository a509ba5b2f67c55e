"""Benchmarks through lm-eval over our runner: same results, every item kept and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.checks import BenchmarkConfig, benchmark
from eval.rows import RowsError
from eval.runner import FakeRunner, RunnerError
from eval.torch_runner import TorchRunner
from registry.dataset import DatasetError


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def runner(tiny_checkpoint: Path) -> TorchRunner:
    return TorchRunner(tiny_checkpoint)


WORDS = (
    "red", "green", "blue", "small", "large", "quick", "slow", "warm", "cold", "bright", "dark",
    "plain",
)  # fmt: skip


def choice_rows(num: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{n}",
            "context": f"Question {n} about {WORDS[n % 12]} things:",
            "choices": [f"{WORDS[(n * k + k) % 12]} {k}" * (1 + k % 2) for k in range(1, 5)],
            "gold": n % 4,
            "group": WORDS[n % 3],
            "cluster": f"t{n % 5}",
        }
        for n in range(num)
    ]


def pair_rows(num: int) -> list[dict[str, Any]]:
    return [
        {"id": f"p{n}", "good": f"The {WORDS[n % 12]} cats {n} sleep.",
         "bad": f"The {WORDS[n % 12]} cats {n} sleeps.", "group": "agreement"}
        for n in range(num)
    ]  # fmt: skip


def by_lm_evals_hf_model(
    checkpoint: Path, runner: TorchRunner, task: dict[str, Any], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Per-item samples of lm-eval's own hf model and task machinery, by id."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    model = HFLM(
        pretrained=str(checkpoint), dtype="float32", device="cpu", batch_size=8,
        prefix_token_id=runner.prefix_token,
    )  # fmt: skip
    config = {
        "task": "theirs", "test_split": "test", "num_fewshot": 0,
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(rows)},
    }  # fmt: skip
    built = ConfigurableTask(config=config | task)
    results = evaluate(model, {"tasks": {"theirs": built}}, bootstrap_iters=0)
    return {sample["doc"]["id"]: sample for sample in results["samples"]["theirs"]}


def metric_list(name: str) -> list[dict[str, Any]]:
    return [{"metric": name, "aggregation": "mean", "higher_is_better": True}]


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_multiple_choice_is_item_by_item_that_of_lm_evals_hf_model(
    metric: str, runner: TorchRunner, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    rows = choice_rows(40)
    data = write(tmp_path / "q.jsonl", rows)
    measured = benchmark(runner, BenchmarkConfig(data=data, metric=metric))
    theirs = by_lm_evals_hf_model(  # written as lm-eval's hellaswag.yaml
        tiny_checkpoint,
        runner,
        {"output_type": "multiple_choice", "doc_to_text": "{{context}}", "doc_to_choice": "choices",
         "doc_to_target": "{{gold}}", "metric_list": metric_list(metric)},
        rows,
    )  # fmt: skip
    assert {item.key: item.value for item in measured.items} == {
        key: sample[metric] for key, sample in theirs.items()
    }
    assert measured.items[7].group == rows[7]["group"]
    assert measured.items[7].cluster == rows[7]["cluster"]


def test_minimal_pairs_are_item_by_item_lm_evals_blimp(
    runner: TorchRunner, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    rows = pair_rows(40)
    measured = benchmark(
        runner, BenchmarkConfig(data=write(tmp_path / "p.jsonl", rows), kind="minimal_pairs")
    )
    theirs = by_lm_evals_hf_model(  # lm_eval/tasks/blimp/_template_yaml
        tiny_checkpoint,
        runner,
        {"output_type": "multiple_choice", "doc_to_text": "", "doc_to_target": 0,
         "doc_to_choice": "{{[good, bad]}}", "metric_list": metric_list("acc")},
        rows,
    )  # fmt: skip
    assert [item.value for item in measured.items] == [theirs[r["id"]]["acc"] for r in rows]
    assert measured.tables["by_group"]["agreement"]["items"] == 40


def test_cloze_is_item_by_item_lm_evals_lambada(
    runner: TorchRunner, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    rows = [{"id": str(n), "context": f"Word {n} is", "target": WORDS[n]} for n in range(12)]
    measured = benchmark(
        runner, BenchmarkConfig(data=write(tmp_path / "c.jsonl", rows), kind="cloze")
    )
    theirs = by_lm_evals_hf_model(  # lm_eval/tasks/lambada: target with a leading space
        tiny_checkpoint,
        runner,
        {"output_type": "loglikelihood", "doc_to_text": "{{context}}",
         "doc_to_target": "{{' '+target}}", "metric_list": metric_list("acc")},
        rows,
    )  # fmt: skip
    assert [item.value for item in measured.items] == [theirs[r["id"]]["acc"] for r in rows]


def test_cloze_is_right_where_greedy_decoding_says_the_target(tmp_path: Path) -> None:
    rows = [{"id": "a", "context": "one two", "target": "three"},
            {"id": "b", "context": "one two", "target": "four"}]  # fmt: skip
    fake = FakeRunner(greedy=lambda context, continuation: continuation == " three")
    config = BenchmarkConfig(data=write(tmp_path / "c.jsonl", rows), kind="cloze")
    assert [item.value for item in benchmark(fake, config).items] == [1.0, 0.0]


def test_generation_is_right_where_the_stripped_answer_is_the_expected_one(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "2+2=", "answer": "4"}, {"id": "b", "prompt": "2+3=",
             "answer": "5"}]  # fmt: skip
    config = BenchmarkConfig(data=write(tmp_path / "g.jsonl", rows), kind="generate")
    items = benchmark(FakeRunner(reply=lambda prompt: " 4\n"), config).items
    assert [(item.value, item.answer) for item in items] == [(1.0, " 4\n"), (0.0, " 4\n")]


def test_a_prompt_over_the_context_is_unscored_with_its_reason(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "x" * 600, "answer": "4"}, {"id": "b", "prompt": "y",
             "answer": "ok"}]  # fmt: skip
    config = BenchmarkConfig(data=write(tmp_path / "g.jsonl", rows), kind="generate")
    long, short = benchmark(FakeRunner(), config).items
    assert (long.value, long.unscored) == (None, "the prompt fills the context")
    assert (short.value, short.unscored) == (1.0, None)


def test_few_shot_examples_stand_before_the_question(tmp_path: Path) -> None:
    asked: list[str] = []

    def score(context: str, continuation: str) -> float:
        asked.append(context)
        return -1.0 if continuation == " b" else -2.0

    row = {"id": "q", "context": "Q:", "choices": ["a", "b"], "gold": 1}
    shots = [{"id": f"s{n}", "context": f"S{n}:", "choices": ["a", "b"], "gold": 0}
             for n in range(3)]  # fmt: skip
    config = BenchmarkConfig(
        data=write(tmp_path / "q.jsonl", [row]),
        fewshot=write(tmp_path / "s.jsonl", shots),
        num_fewshot=2,
    )
    [item] = benchmark(FakeRunner(score=score), config).items
    assert item.value == 1.0
    assert asked[0].endswith("\n\nQ:")
    assert asked[0].count(": a\n\n") == 2


def test_chat_prompts_go_through_the_template(tmp_path: Path) -> None:
    asked: list[str] = []

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return "4"

    rows = [{"id": "a", "prompt": "2+2=", "answer": "4"}]
    config = BenchmarkConfig(data=write(tmp_path / "g.jsonl", rows), kind="generate", chat=True)
    benchmark(FakeRunner(reply=reply), config)
    assert asked == ["user: 2+2=\nassistant: "]


def test_answers_follow_white_space_directly_and_other_text_after_a_space(tmp_path: Path) -> None:
    said: list[str] = []

    def score(context: str, continuation: str) -> float:
        said.append(continuation)
        return -float(len(said))

    row = {"id": "q", "context": "assistant\n", "choices": ["a", "b"], "gold": 0}
    path = tmp_path / "q.jsonl"
    benchmark(FakeRunner(score=score), BenchmarkConfig(data=write(path, [row])))
    benchmark(FakeRunner(score=score), BenchmarkConfig(data=write(path, [row | {"context": "Q:"}])))
    assert said == ["a", "b", " a", " b"]
    mixed = write(path, [row, row | {"id": "r", "context": "Q:"}])
    with pytest.raises(RowsError, match="1 of 2 contexts end in white space"):
        benchmark(FakeRunner(), BenchmarkConfig(data=mixed))


# Traps 8, 9 and 10 of lm-eval 0.4.13, and one of our own.


def test_the_working_directory_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "q.jsonl", choice_rows(3))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(benchmark(FakeRunner(), BenchmarkConfig(data=data)).items) == 3
    assert list(elsewhere.iterdir()) == []


def test_no_cache_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setenv("HF_HOME", str(cache))
    benchmark(FakeRunner(), BenchmarkConfig(data=write(tmp_path / "q.jsonl", choice_rows(3))))
    assert not cache.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["q.jsonl"]


def test_nan_logits_raise_where_lm_eval_would_count_choice_0_as_right(
    make_tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    import torch

    damaged = TorchRunner(make_tiny_checkpoint("nan"))
    with torch.no_grad():
        damaged.model.get_input_embeddings().weight[100:].fill_(float("nan"))
    config = BenchmarkConfig(data=write(tmp_path / "p.jsonl", pair_rows(3)), kind="minimal_pairs")
    with pytest.raises(RunnerError, match="NaN"):
        benchmark(damaged, config)


def test_an_indifferent_model_gets_nothing_right(tmp_path: Path) -> None:
    # lm-eval takes the first of equal choices, which in BLiMP is the right one: accuracy 1
    config = BenchmarkConfig(data=write(tmp_path / "p.jsonl", pair_rows(3)), kind="minimal_pairs")
    measured = benchmark(FakeRunner(score=lambda context, continuation: -1.0), config)
    assert [item.value for item in measured.items] == [0.0, 0.0, 0.0]
    assert measured.summary["ties"] == 3


def test_items_keep_their_ids_and_hashes_whatever_the_order_of_rows(
    runner: TorchRunner, tmp_path: Path
) -> None:
    rows = choice_rows(20)
    path = tmp_path / "q.jsonl"
    forwards = benchmark(runner, BenchmarkConfig(data=write(path, rows))).items
    backwards = benchmark(runner, BenchmarkConfig(data=write(path, rows[::-1]))).items
    assert {item.key: item for item in forwards} == {item.key: item for item in backwards}
    assert [item.key for item in forwards] == [row["id"] for row in rows]
    assert len({item.content_hash for item in forwards}) == 20


def test_another_gold_answer_or_context_changes_the_content_hash(tmp_path: Path) -> None:
    row = choice_rows(1)[0]
    path = tmp_path / "q.jsonl"

    def content_hash(changed: dict[str, Any]) -> str:
        config = BenchmarkConfig(data=write(path, [row | changed]))
        return benchmark(FakeRunner(), config).items[0].content_hash

    hashes = {content_hash({}), content_hash({"gold": 1}), content_hash({"context": "Other:"})}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold": 4}, r"q\.jsonl:1: .*gold 4 is beyond the 4 choices"),
        ({"choices": ["one"]}, r"q\.jsonl:1: .*choices"),
        ({"answer": "x"}, r"q\.jsonl:1: .*answer"),
    ],
)
def test_a_bad_row_names_file_line_and_field(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    data = write(tmp_path / "q.jsonl", [choice_rows(1)[0] | change])
    with pytest.raises(DatasetError, match=message):
        benchmark(FakeRunner(), BenchmarkConfig(data=data))
