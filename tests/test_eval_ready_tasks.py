"""The ready tasks, item by item beside lm-eval's own hf model."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from eval.checks import LmEvalTaskConfig, lm_eval_task
from eval.runner import Continuation, FakeRunner
from eval.task_files import ready_tasks
from eval.torch_runner import TorchRunner

NUM_ROWS = 24


@pytest.fixture(scope="module")
def small_data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of each public file, under the names that the ready tasks ask for."""
    folder = tmp_path_factory.mktemp("data")
    for path in (
        "hellaswag/hellaswag_val.jsonl.gz",
        "gsm8k/test.jsonl",
        "gsm8k/train_first1500.jsonl.gz",
        *(str(p.relative_to(shared_data)) for p in shared_data.glob("llm_foundry_eval/*/*.jsonl")),
        "blimp/blimp.tsv.gz",
    ):
        read: Any = gzip.open if path.endswith(".gz") else open
        step = 2500 if "blimp" in path else 1  # so that several paradigms are met
        with read(shared_data / path, "rt", encoding="utf-8") as file:
            lines = list(islice(file, 1)) + list(islice(file, 0, step * (NUM_ROWS - 1), step))
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with read(folder / path, "wt", encoding="utf-8") as file:
            file.writelines(lines)
    return folder


@pytest.fixture(scope="module")
def both(tiny_checkpoint: Path) -> tuple[TorchRunner, Any]:
    """Our runner and lm-eval's hf model over the same checkpoint, in float32 on the CPU."""
    from lm_eval.models.huggingface import HFLM

    ours = TorchRunner(tiny_checkpoint)
    theirs = HFLM(
        pretrained=str(tiny_checkpoint), dtype="float32", device="cpu", batch_size=8,
        prefix_token_id=ours.prefix_token,
    )  # fmt: skip
    return ours, theirs


class Listening(FakeRunner):
    """Hands everything on to a real runner, and keeps what was scored."""

    def __init__(self, inner: TorchRunner) -> None:
        self.inner = inner
        self.facts = inner.facts
        self.heard: dict[tuple[str, str], Continuation] = {}

    def continuations(self, requests: Sequence[tuple[str, str]]) -> list[Continuation]:
        scored = self.inner.continuations(requests)
        self.heard |= dict(zip(requests, scored, strict=True))
        return scored

    def completions(self, prompts: Any, sampling: Any) -> Any:
        return self.inner.completions(prompts, sampling)


def samples_of_lm_eval(model: Any, task: Path, num_fewshot: int | None) -> list[dict[str, Any]]:
    """What lm-eval makes of a task file by itself; its data is found in the working directory."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    results = simple_evaluate(
        model=model, tasks=[str(task)], task_manager=TaskManager(include_defaults=False),
        num_fewshot=num_fewshot, bootstrap_iters=0, fewshot_random_seed=1234,
    )  # fmt: skip
    assert results is not None
    [samples] = results["samples"].values()
    return samples


@pytest.mark.parametrize(
    ("task", "num_fewshot", "metric"),
    [
        ("blimp", 0, "acc"),
        ("hellaswag", 0, "acc"),
        ("hellaswag", 2, "acc_norm"),
        ("lambada", 0, "acc"),
        ("lambada", 2, "acc"),
        ("piqa", 0, "acc_norm"),
        ("piqa", 2, "acc"),
        ("arc_challenge", 0, "acc"),
        ("arc_easy", 2, "acc_norm"),
        ("boolq", 0, "acc"),
        ("winogrande", 0, "acc"),
        ("winogrande", 2, "acc"),
    ],
)
def test_a_ready_task_gives_item_by_item_what_lm_evals_hf_model_gives(
    task: str,
    num_fewshot: int,
    metric: str,
    both: tuple[TorchRunner, Any],
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    ours, theirs = both
    listening = Listening(ours)
    config = LmEvalTaskConfig(task=task, data=small_data, num_fewshot=num_fewshot, metric=metric)
    measured = lm_eval_task(listening, config)
    monkeypatch.chdir(small_data)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    samples = samples_of_lm_eval(theirs, ready_tasks()[task], num_fewshot)
    assert len(samples) == len(measured.items) >= NUM_ROWS - 1
    asked = 0
    for sample in samples:
        for arguments, (response,) in zip(sample["arguments"], sample["resps"], strict=True):
            logprob, greedy = response
            heard = listening.heard[tuple(arguments)]
            # lm-eval adds up in float32, whose neighbours lie 1.2e-4 apart beyond 1,024 nats.
            assert heard.logprob == pytest.approx(logprob, abs=1e-4, rel=2**-22)
            assert heard.greedy == greedy
            asked += 1
    assert asked >= len(samples)
    assert [item.value for item in measured.items] == [float(s[metric]) for s in samples]
    by_lm_eval = sum(sample[metric] for sample in samples) / len(samples)
    assert measured.tables["lm_eval"][task][f"{metric},none"] == by_lm_eval


@pytest.mark.parametrize("num_fewshot", [0, 1])
def test_gsm8k_answers_and_both_filters_are_those_of_lm_evals_hf_model(
    num_fewshot: int,
    both: tuple[TorchRunner, Any],
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    ours, theirs = both
    short = tmp_path / "short.yaml"
    short.write_text(
        f"include: {ready_tasks()['gsm8k']}\n"
        "generation_kwargs: {until: ['Question:'], do_sample: false, max_gen_toks: 6}\n"
    )
    config = LmEvalTaskConfig(task=short, data=small_data, num_fewshot=num_fewshot, max_items=12)
    strict = lm_eval_task(ours, config)
    flexible = lm_eval_task(ours, config.model_copy(update={"filter": "flexible-extract"}))
    monkeypatch.chdir(small_data)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    samples = samples_of_lm_eval(theirs, short, num_fewshot)
    for measured, name in ((strict, "strict-match"), (flexible, "flexible-extract")):
        expected = [sample for sample in samples if sample["filter"] == name][:12]
        compared = 0
        for item, sample in zip(measured.items, expected, strict=True):
            if item.unscored is None:  # lm-eval cuts a long prompt instead
                assert item.answer == sample["resps"][0][0]
                assert item.value == sample["exact_match"]
                compared += 1
        assert compared >= 8


def test_a_right_number_passes_through_the_tasks_own_filters(tmp_path: Path) -> None:
    rows = [{"question": "1+1?", "answer": "1+1=2\n#### 2"}, {"question": "2+2?",
             "answer": "#### 4"}]  # fmt: skip
    for name in ("test.jsonl", "train_first1500.jsonl.gz"):
        path = tmp_path / "gsm8k" / name
        path.parent.mkdir(exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    runner = FakeRunner(reply=lambda prompt: "It is 1+1=2, so\n#### 2")

    def values(**more: Any) -> list[float | None]:
        config = LmEvalTaskConfig(task="gsm8k", data=tmp_path, num_fewshot=0, **more)
        return [item.value for item in lm_eval_task(runner, config).items]

    assert values() == [1.0, 0.0]
    assert values(filter="flexible-extract") == [1.0, 0.0]
    runner.reply = lambda prompt: "It is 2"
    assert values() == [0.0, 0.0]
    assert values(filter="flexible-extract") == [1.0, 0.0]


def test_blimps_first_items_are_one_pair_of_each_paradigm(shared_data: Path) -> None:
    config = LmEvalTaskConfig(task="blimp", data=shared_data, max_items=134)
    items = lm_eval_task(FakeRunner(), config).items
    assert len({item.group for item in items[:67]}) == 67
    assert all(item.cluster == item.group for item in items)
    assert items[0].key == f"{items[0].group}-0"
    assert {item.key.rpartition("-")[2] for item in items} == {"0", "1"}


def test_the_first_metric_of_right_or_wrong_is_judged_unless_another_is_named(
    small_data: Path,
) -> None:
    def summary(**more: Any) -> set[str]:
        config = LmEvalTaskConfig(data=small_data, max_items=4, **more)
        return set(lm_eval_task(FakeRunner(), config).summary) - {"items", "ties"}

    assert summary(task="lambada") == {"acc"}  # and not perplexity, which stands first
    assert summary(task="piqa") == {"acc"}
    assert summary(task="piqa", metric="acc_norm") == {"acc_norm"}
