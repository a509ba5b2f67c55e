"""Benchmarks by lm-eval's own tasks: a local file, a ready one, or the catalogue's.

lm-eval builds prompts, filters and scores as it always does; the runner answers, and
every item is kept. Beyond lm-eval: local files are found wherever one stands, no cache
is written, a tie is not right, examples never contain the question itself.
"""

from __future__ import annotations

import difflib
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any

import datasets
import jinja2
import lm_eval.utils
from lm_eval.api.metrics import mean
from lm_eval.config.task import TaskConfig
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from eval.checks import LmEvalTaskConfig, Measured
from eval.harness import RunnerLM, plain_arguments
from eval.rows import count_by_group
from eval.runner import Answer, Runner
from eval.task_files import TaskError, TaskFile, read_task_file, ready_tasks, task_path
from registry.evidence import Item
from registry.records import describe_unknown, digest_of, first_problem

RIGHT_OR_WRONG = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
STRUCTURE = {"include", "tag", "task_list", "class"}
BROKEN = (
    OSError, ValueError, TypeError, LookupError, AttributeError, ImportError, RuntimeError,
    jinja2.TemplateError, datasets.exceptions.DatasetsError,
)  # fmt: skip


def measure(runner: Runner, config: LmEvalTaskConfig) -> Measured:
    """Raises TaskError where the task cannot be built, or its metric is not 0 or 1 per item."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    tasks = load_tasks(config)
    metric = config.metric or _first_metric(tasks)
    for name, task in tasks.items():
        _refuse_unusable(name, task, metric)
        _set_examples(name, task, config)
    with _templates_compiled_once():
        results = evaluate(
            RunnerLM(runner),
            {"tasks": tasks},
            limit=config.max_items,
            bootstrap_iters=0,  # intervals are eval.stats' business
            log_samples=True,
            apply_chat_template=config.chat,
            fewshot_as_multiturn=config.chat,
        )
        assert results is not None
        items: list[Item] = []
        ties = 0
        for name, task in tasks.items():
            chosen = _filter(name, task, config.filter)
            samples = [s for s in results["samples"][name] if s["filter"] == chosen]
            prefix = f"{name}/" if len(tasks) > 1 else ""
            for sample in sorted(samples, key=lambda sample: int(sample["doc_id"])):
                tied = _tied(task, sample, metric)
                ties += tied
                items.append(_item(name, task, sample, metric, config, tied=tied, prefix=prefix))
    scored = [item.value for item in items if item.value is not None]
    summary: dict[str, float | None] = {
        metric: sum(scored) / len(scored) if scored else None,
        "items": float(len(items)),
        "ties": float(ties),
    }
    tables = {"by_group": count_by_group(items), "lm_eval": _their_figures(results["results"])}
    return Measured(tuple(items), summary, tables)


def load_tasks(config: LmEvalTaskConfig) -> dict[str, Any]:
    """lm-eval tasks by name: one, or those of a group of the catalogue. Raises TaskError."""
    path = task_path(config.task, config.data)
    if path is not None:
        return _from_file(read_task_file(path, config.data), config.num_fewshot)
    return _from_catalogue(str(config.task))


def _from_file(file: TaskFile, num_fewshot: int | None) -> dict[str, Any]:
    known = {entry.name for entry in fields(TaskConfig)} | STRUCTURE
    if "group" in file.values or isinstance(file.values.get("task"), list):
        raise file.error("group", "is a group; give each of its tasks an entry of its own")
    for key in file.values:
        if key not in known:
            raise file.error(key, describe_unknown("key", key, sorted(known)))
    if not isinstance(file.values.get("task"), str):
        raise file.error("task", "is missing; give the task a name")
    with tempfile.TemporaryDirectory(prefix="hallmark-task-") as cache, _no_progress_bars():
        try:
            settings = load_yaml(file.path)
            if callable(settings.get("process_docs")):
                settings["process_docs"] = _once(settings["process_docs"])
            if not (settings.get("num_fewshot") if num_fewshot is None else num_fewshot):
                # none are wanted; lm-eval would read all that there are to choose from
                settings |= {"fewshot_split": None, "fewshot_config": {"samples": []}}
            if file.data:
                settings["dataset_kwargs"] = settings["dataset_kwargs"] | {
                    "data_files": {k: [str(p) for p in paths] for k, paths in file.data.items()},
                    "cache_dir": cache,
                    "keep_in_memory": True,
                }
            return dict(TaskManager(include_defaults=False).load(settings)["tasks"])
        except BROKEN as error:
            raise TaskError(
                f"{file.path}: lm-eval cannot build this task: {_said(error)}; "
                "see its guide to task files, docs/new_task_guide.md"
            ) from error


def _once(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``process`` with its result kept: lm-eval calls it at every look at a split."""
    kept: list[tuple[Any, Any]] = []

    def processed(rows: Any) -> Any:
        for known, result in kept:
            if known is rows:
                return result
        kept.append((rows, process(rows)))
        return kept[-1][1]

    return processed


@contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """lm-eval compiles a task's templates again for every document; meanwhile it does not."""
    environment = lm_eval.utils.env
    environment.from_string = cache(environment.from_string)
    try:
        yield
    finally:
        del environment.from_string  # the class's own method is in sight again


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    were_shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if were_shown:
            datasets.enable_progress_bars()


def _from_catalogue(name: str) -> dict[str, Any]:
    manager = _catalogue()
    if name not in manager.all_tasks:
        near = difflib.get_close_matches(name, manager.all_tasks, n=5)
        raise TaskError(
            f"lm-eval's catalogue has no task named {name!r}; "
            f"near it: {', '.join(near) or 'none'}; "
            f"ready ones (with data): {', '.join(ready_tasks())}"
        )
    try:
        return dict(manager.load(name)["tasks"])
    except BROKEN as error:
        ready = f", or set data to a folder for the ready task {name}"
        raise TaskError(
            f"task {name} of lm-eval's catalogue: its data could not be loaded "
            f"({_said(error)}); make the hub reachable, or set task to a local YAML file"
            f"{ready if name in ready_tasks() else ''}"
        ) from error


@cache
def _catalogue() -> TaskManager:
    """lm-eval's own index of tasks: ten seconds to build, so once per process."""
    return TaskManager()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_problem(error)}"


def _first_metric(tasks: Mapping[str, Any]) -> str:
    name, task = next(iter(tasks.items()))
    for metric in task.aggregation():
        if metric in RIGHT_OR_WRONG:
            return str(metric)
    raise TaskError(
        f"task {name} has no metric that is surely 0 or 1 for each item; "
        f"set metric to one of {_per_item(task)}"
    )


def _per_item(task: Any) -> str:
    """The metrics whose figure is the mean of the items' numbers."""
    higher = task.higher_is_better()
    names = [m for m, f in task.aggregation().items() if f is mean and higher.get(m, True)]
    return ", ".join(names) or "none: all of its metrics are over the whole set"


def _refuse_unusable(name: str, task: Any, metric: str) -> None:
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        raise TaskError(
            f"task {name} measures perplexity (loglikelihood_rolling); the check bits_per_byte "
            "does that, with an interval"
        )
    if getattr(task, "MULTIMODAL", False):
        raise TaskError(f"task {name} shows images or plays sound; the runner reads text only")
    if getattr(task, "UNSAFE_CODE", False):
        raise TaskError(f"task {name} runs code that the model wrote; a gate does not")
    aggregation = task.aggregation()
    if metric not in aggregation:
        raise TaskError(f"task {name}: {describe_unknown('metric', metric, aggregation)}")
    if aggregation[metric] is not mean:
        raise TaskError(
            f"task {name}: {metric} is no number per item, it is made over the whole set; "
            f"have {_per_item(task)}"
        )
    if not task.higher_is_better().get(metric, True):
        raise TaskError(f"task {name}: lower is better for {metric}; have {_per_item(task)}")


def _set_examples(name: str, task: Any, config: LmEvalTaskConfig) -> None:
    """Number and seed of the examples. Raises TaskError where a question could be its own."""
    wanted = config.num_fewshot
    number = (task.config.num_fewshot if wanted is None else wanted) or 0
    task.set_config("num_fewshot", number)
    task.set_fewshot_seed(config.seed)
    settings = getattr(task, "fewshot_cfg", None)
    if number == 0 or settings is None:
        return
    evaluated = task.config.test_split or task.config.validation_split
    source = settings.split
    if source is None and settings.samples is None:
        source = task.config.training_split or task.config.validation_split or evaluated
    # lm-eval leaves the question out only where its test split is the examples' fewshot_split
    leaves_out = settings.split == task.config.test_split
    if source == evaluated and not leaves_out:
        raise TaskError(
            f"task {name}: {number} examples would be drawn from {evaluated!r}, the split that is "
            "measured, the question itself among them; name a fewshot_split, or name the "
            "measured one both test_split and fewshot_split: then it is left out"
        )


def _filter(name: str, task: Any, wanted: str | None) -> str:
    names = [ensemble.name for ensemble in task._filters]
    if wanted is None:
        return str(names[0])
    if wanted not in names:
        raise TaskError(f"task {name}: {describe_unknown('filter', wanted, names)}")
    return wanted


def _item(
    name: str,
    task: Any,
    sample: Mapping[str, Any],
    metric: str,
    config: LmEvalTaskConfig,
    *,
    tied: bool,
    prefix: str,
) -> Item:
    """One document's evidence. A tie is not right: an indifferent model has found nothing."""
    response = sample["resps"][0][0]
    unscored = response.unscored if isinstance(response, Answer) else None
    doc = sample["doc"]
    key = item_key(name, task, doc, int(sample["doc_id"]), config, prefix)
    value = None
    if unscored is None:
        value = _value(name, task, sample, metric, key) * (not tied)
    return Item(
        key=key,
        content_hash=digest_of(
            [plain_arguments(sample["arguments"]), str(sample["target"]), sample["doc_hash"]]
        ),
        value=value,
        unscored=unscored,
        cluster=_field("cluster", name, task, doc, config),
        group=_field("group", name, task, doc, config) or (name if prefix else None),
        answer=str(response) if isinstance(response, str) and not unscored else None,
    )


def item_key(
    name: str,
    task: Any,
    doc: Mapping[str, Any],
    place: int,
    config: LmEvalTaskConfig,
    prefix: str,
) -> str:
    """What an item is called: its id field, or its place (from 0) in the split."""
    return prefix + (_field("id", name, task, doc, config) or str(place))


def _field(
    role: str, name: str, task: Any, doc: Mapping[str, Any], config: LmEvalTaskConfig
) -> str | None:
    named = getattr(config, f"{role}_field") or (task.config.metadata or {}).get(f"{role}_field")
    if named is None:
        return None
    if named not in doc:
        raise TaskError(f"task {name}: {describe_unknown('document field', named, list(doc))}")
    return str(doc[named])


def _value(name: str, task: Any, sample: Mapping[str, Any], metric: str, key: str) -> float:
    value = sample.get(metric)
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is refused below
    except (TypeError, ValueError):
        number = math.nan
    if number not in (0.0, 1.0):
        raise TaskError(
            f"task {name}: {metric} of item {key} is {value!r}, and the check judges 0 or 1; "
            f"the task's metrics with a number per item: {_per_item(task)}"
        )
    return number


def _tied(task: Any, sample: Mapping[str, Any], metric: str) -> bool:
    """Whether a wrong choice scores as high as the best does (lm-eval takes the first)."""
    if task.OUTPUT_TYPE != "multiple_choice" or metric not in ("acc", "acc_norm", "acc_bytes"):
        return False
    doc = sample["doc"]
    choices: Sequence[str] = task.doc_to_choice(doc)
    sizes = {
        "acc": [1] * len(choices),
        "acc_norm": [len(choice) for choice in choices],
        "acc_bytes": [len(choice.encode()) for choice in choices],
    }[metric]
    logprobs = [response[0] for response in sample["filtered_resps"]]
    scores = [logprob / size for logprob, size in zip(logprobs, sizes, strict=False)]
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    right = {choices.index(g) if isinstance(g, str) and g in choices else g
             for g in (gold if isinstance(gold, list) else [gold])}  # fmt: skip
    best = max(scores)
    return any(score == best for index, score in enumerate(scores) if index not in right) and any(
        score == best for index, score in enumerate(scores) if index in right
    )


def _their_figures(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """lm-eval's own aggregates of each task, by ``metric,filter``: for reading beside ours."""
    return {
        name: {
            key: float(value)
            for key, value in figures.items()
            if "," in key and isinstance(value, int | float) and math.isfinite(value)
        }
        for name, figures in results.items()
    }
