"""Benchmarks through lm-evaluation-harness, over the one loaded runner.

lm-eval builds the prompts and scores the answers; ``RunnerLM`` hands its requests to
the runner. Tasks are made from rows in memory, so no path, cache folder or download
is involved. It does not use lm-eval's ``samples=`` (unsorted, it mislabels documents)
nor its response cache (which ignores the model).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.utils import normalize_gen_kwargs

from eval.checks import BenchmarkConfig, Measured
from eval.rows import (
    ChoiceRow,
    ClozeRow,
    GenerateRow,
    PairRow,
    Row,
    RowsError,
    count_by_group,
    read_rows,
)
from eval.runner import Answer, Runner, RunnerError, Sampling
from registry.conversation import Message
from registry.evidence import Item
from registry.records import digest_of

KINDS: Mapping[str, type[Row]] = {
    "multiple_choice": ChoiceRow,
    "minimal_pairs": PairRow,
    "cloze": ClozeRow,
    "generate": GenerateRow,
}
METRICS = {"cloze": "acc", "minimal_pairs": "acc", "generate": "exact_match"}
TASK = "rows"


class RunnerLM(LM):  # type: ignore[misc]  # lm_eval is untyped
    """lm-eval's model interface over a runner."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.runner = runner

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Raises RunnerError on NaN, which lm-eval would count as the first choice."""
        scored = self.runner.continuations([request.args for request in requests])
        for request, result in zip(requests, scored, strict=True):
            if math.isnan(result.logprob):
                raise RunnerError(
                    f"the log-likelihood of {request.args[1]!r} is NaN: the checkpoint is "
                    "damaged; train it again or measure another one"
                )
        return [(result.logprob, result.greedy) for result in scored]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        return self.runner.documents([request.args[0] for request in requests])

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """One batch per set of generation arguments; an over-long prompt stays an ``Answer``."""
        by_sampling: dict[Sampling, list[int]] = {}
        for index, request in enumerate(requests):
            by_sampling.setdefault(_sampling(request.args[1]), []).append(index)
        texts: list[str] = [""] * len(requests)
        for sampling, indices in by_sampling.items():
            prompts = [requests[index].args[0] for index in indices]
            answers = self.runner.completions(prompts, sampling)
            for index, answer in zip(indices, answers, strict=True):
                texts[index] = answer
        return texts

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        dialogue = [Message.model_validate(dict(turn)) for turn in chat_history]
        return self.runner.render(dialogue, answer_next=add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        return self.runner.facts.chat_template_digest


def _sampling(arguments: Mapping[str, Any]) -> Sampling:
    """A task's generation arguments as lm-eval's ``hf`` model reads them, 256 tokens by default.

    Raises RunnerError for a way of drawing that no runner has.
    """
    read = normalize_gen_kwargs(dict(arguments))
    sampled = bool(read["do_sample"]) and float(read.get("temperature", 0.0)) > 0
    odd = sorted(set(read) - {"do_sample", "temperature", "until", "max_gen_toks"})
    if sampled and odd:
        raise RunnerError(
            f"generation argument {odd[0]} is not understood; have do_sample, temperature, "
            "until, max_gen_toks"
        )
    return Sampling(
        max_tokens=int(read["max_gen_toks"]),
        temperature=float(read.get("temperature", 0.0)) if sampled else 0.0,
        stop=tuple(text for text in read["until"] if text),
    )


def measure(runner: Runner, config: BenchmarkConfig) -> Measured:
    rows = read_rows(config.data, KINDS[config.kind], limit=config.max_items)
    shots = _shots(config)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    task = ConfigurableTask(config=_task_config(config, rows, shots))
    task.set_fewshot_seed(config.seed)
    results = evaluate(
        RunnerLM(runner),
        {"tasks": {TASK: task}},
        bootstrap_iters=0,  # intervals are eval.stats' business
        log_samples=True,
        apply_chat_template=config.chat,
        fewshot_as_multiturn=config.chat,
    )
    assert results is not None
    samples = {sample["doc"]["id"]: sample for sample in results["samples"][TASK]}
    metric = METRICS.get(config.kind, config.metric)
    items = tuple(_item(row, samples[row.id], metric) for row in rows)
    scored = [item.value for item in items if item.value is not None]
    ties = sum(_tied(sample, metric) for sample in samples.values())
    return Measured(
        items,
        summary={
            metric: sum(scored) / len(scored) if scored else None,
            "items": float(len(items)),
            "ties": float(ties),
        },
        tables={"by_group": count_by_group(items)},
    )


def _shots(config: BenchmarkConfig) -> Sequence[Row]:
    if not config.num_fewshot:
        return ()
    if config.fewshot is None:
        raise RowsError(
            f"num_fewshot is {config.num_fewshot}, but fewshot names no file to draw examples from"
        )
    shots = read_rows(config.fewshot, KINDS[config.kind])
    if len(shots) < config.num_fewshot:
        raise RowsError(f"{config.fewshot} has {len(shots)} rows for {config.num_fewshot} shots")
    return shots


def _task_config(
    config: BenchmarkConfig, rows: Sequence[Row], shots: Sequence[Row]
) -> dict[str, Any]:
    """An lm-eval task over rows in memory."""
    splits = {"test": rows} | ({"shots": shots} if shots else {})
    tables = {
        name: datasets.Dataset.from_list([_doc(row) for row in split])
        for name, split in splits.items()
    }
    delimiter = _delimiter(config, rows)
    task: dict[str, Any] = {
        "task": TASK,
        "custom_dataset": lambda **_: tables,
        "test_split": "test",
        "fewshot_split": "shots" if shots else None,
        "num_fewshot": config.num_fewshot,
        "target_delimiter": delimiter,
    }
    metric = METRICS.get(config.kind, config.metric)
    task["metric_list"] = [{"metric": metric, "aggregation": "mean", "higher_is_better": True}]
    if config.kind in ("multiple_choice", "minimal_pairs"):
        return task | {
            "output_type": "multiple_choice",
            "doc_to_text": lambda doc: doc["context"],
            "doc_to_choice": lambda doc: doc["choices"],
            "doc_to_target": lambda doc: doc["gold"],
        }
    if config.kind == "cloze":
        return task | {
            "output_type": "loglikelihood",
            "target_delimiter": "",  # lm-eval adds none to the target of this output type
            "doc_to_text": lambda doc: doc["context"],
            "doc_to_target": lambda doc: delimiter + doc["target"],
        }
    return task | {
        "output_type": "generate_until",
        "doc_to_text": lambda doc: doc["prompt"],
        "doc_to_target": lambda doc: doc["answer"],
        "generation_kwargs": {
            "until": list(config.stop),
            "max_gen_toks": config.max_tokens,
            "do_sample": False,
        },
        "filter_list": [{"name": "strip", "filter": [{"function": "take_first"}]}],
        "process_results": lambda doc, results: {
            "exact_match": float(results[0].strip() == doc["answer"].strip())
        },
    }


def _doc(row: Row) -> dict[str, Any]:
    if isinstance(row, PairRow):  # lm-eval's BLiMP: no context, the good sentence first
        return {"id": row.id, "context": "", "choices": [row.good, row.bad], "gold": 0}
    return row.model_dump(include=set(type(row).model_fields) - {"group", "cluster"})


def _delimiter(config: BenchmarkConfig, rows: Sequence[Row]) -> str:
    """What stands between context and answer: a space, as in lm-eval, or nothing where
    every context ends in white space already."""
    if config.delimiter is not None:
        return config.delimiter
    contexts = [_doc(row).get("context", "") for row in rows]
    spaced = [context != context.rstrip() for context in contexts]
    if any(spaced) and not all(spaced):
        raise RowsError(
            f"{config.data}: {sum(spaced)} of {len(rows)} contexts end in white space; "
            "make them all alike, or set delimiter"
        )
    return "" if all(spaced) else " "


def _item(row: Row, sample: Mapping[str, Any], metric: str) -> Item:
    """One row's evidence. A tie is not right: an indifferent model has found nothing."""
    response = sample["resps"][0][0]
    unscored = response.unscored if isinstance(response, Answer) else None
    value = None if unscored else float(sample[metric] and not _tied(sample, metric))
    return Item(
        key=row.id,
        content_hash=digest_of([plain_arguments(sample["arguments"]), str(sample["target"])]),
        value=value,
        unscored=unscored,
        cluster=row.cluster,
        group=row.group,
        answer=str(response) if isinstance(response, str) and not unscored else None,
    )


def plain_arguments(arguments: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The arguments of an item's requests as JSON can hold them: what a content hash is over."""
    return [list(argument) for argument in arguments]


def _tied(sample: Mapping[str, Any], metric: str) -> bool:
    """Whether another choice scores exactly what the right one does (lm-eval takes the first)."""
    choices = sample["doc"].get("choices")
    if not choices:
        return False
    logprobs = [response[0] for response in sample["filtered_resps"]]
    if metric == "acc_norm":
        logprobs = [value / len(text) for value, text in zip(logprobs, choices, strict=True)]
    gold = sample["doc"]["gold"]
    return any(value == logprobs[gold] for index, value in enumerate(logprobs) if index != gold)
