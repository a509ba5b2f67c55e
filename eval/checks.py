"""What can be measured: one row per check. Nothing registers itself at import.

A check's ``measure`` gets a runner and its validated configuration and returns the
items, with side figures that reports show and nobody judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, Field, field_validator

from eval import item_texts
from eval.item_texts import ItemTexts
from eval.judging import HumanRatingsConfig, JudgedQualityConfig
from eval.runner import Runner
from registry.evidence import Item
from registry.records import Record

# How a check's items are compared (statistics in eval.stats):
#   binary          values in {0, 1}: Tango paired, Clopper-Pearson alone
#   numeric         values on a scale: paired t, cluster-t where clusters repeat
#   bits_per_byte   value = bits, weight = bytes: delete-one jackknife of the ratio
#   rare_harm       values in {0, 1} where 1 is harm: Clopper-Pearson upper bound on a budget
#   contrasts       values in [-1, 1], a group's outcome minus its reference's on one question;
#                   each group's mean must lie within a limit on both sides (eval.contrasts)
Kind = Literal["binary", "numeric", "bits_per_byte", "rare_harm", "contrasts"]

Progress = Callable[[float, int], None]  # (done, total)


@dataclass(frozen=True)
class Measured:
    """What one measurement gives: the items, and figures and tables beside them."""

    items: tuple[Item, ...]
    summary: Mapping[str, float | None] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One thing that can be measured. ``config`` is a pydantic model with extra="forbid";
    its fields of type ``Path`` are the files the check reads, whose digests go into
    the configuration digest. ``zero`` says what an estimate of zero means. Without
    ``needs_model`` nothing is loaded: ``measure`` gets a runner that has only facts.
    ``shows_answers`` lets reports print what was answered; never for an audit, nor for a
    task of a catalogue that has audits in it. ``texts`` gives what each item says, to look
    for it in training data; None where a check has no such text.
    """

    name: str
    measure: Callable[[Runner, Any], Measured]
    config: type[BaseModel]
    kind: Kind
    higher_is_better: bool
    unit: str
    bounds: tuple[float | None, float | None]
    zero: str
    source: str
    needs_model: bool = True
    shows_answers: bool = False
    texts: Callable[[Any], ItemTexts] | None = None


@runtime_checkable
class NamesFiles(Protocol):
    """A configuration whose files are not its fields of type ``Path``."""

    def files(self) -> Mapping[str, Path]:
        """Every file that decides what is measured, by a name that no machine changes."""
        ...


@runtime_checkable
class CountsItems(Protocol):
    """A configuration whose items are not the rows of its longest file."""

    def num_items(self) -> int: ...


@runtime_checkable
class CountsGroups(Protocol):
    """A configuration of contrasts: its ``num_items`` are those of each group."""

    def num_groups(self) -> int: ...


class BitsPerByteConfig(Record):
    data: Path
    """JSONL of documents ``{"id", "text"}`` or of conversations."""
    max_documents: int | None = Field(default=None, ge=1)
    """The first so many; all where None."""
    scope: Literal["everything", "answers"] = "everything"
    """``answers``: only what the assistant says, given all that was said before."""


class BenchmarkConfig(Record):
    data: Path
    """JSONL of the rows of ``kind`` (``eval.rows``)."""
    kind: Literal["multiple_choice", "minimal_pairs", "cloze", "generate"] = "multiple_choice"
    max_items: int | None = Field(default=None, ge=1)
    metric: Literal["acc", "acc_norm"] = "acc"
    """Of multiple choice: the likeliest choice, or the likeliest per character."""
    delimiter: str | None = None
    """Between context and answer; None is a space, or nothing after white space."""
    num_fewshot: int = Field(default=0, ge=0, le=64)
    fewshot: Path | None = None
    """Rows of the same kind that examples are drawn from."""
    seed: int = 0
    """Of the draw of examples."""
    chat: bool = False
    """Whether prompts go through the chat template."""
    max_tokens: int = Field(default=64, ge=1)
    stop: tuple[str, ...] = ("\n\n",)
    """``generate`` rows only, as ``max_tokens``."""


class LmEvalTaskConfig(Record):
    task: Path | str
    """A YAML task file (relative to the policy), a task or group of lm-eval's catalogue, or,
    where ``data`` is set, one of the ready tasks in ``eval/tasks``."""
    data: Path | None = None
    """The folder that relative ``data_files`` are looked up in, of a task file its own folder."""
    metric: str | None = None
    """The judged metric, 0 or 1 per item; None is the task's first such."""
    filter: str | None = None
    """The task's filter whose result is judged; None is the first."""
    max_items: int | None = Field(default=None, ge=1)
    """The first so many of each task; all where None."""
    num_fewshot: int | None = Field(default=None, ge=0, le=64)
    """None is the task's own number."""
    seed: int = 1234
    """Of the draw of examples; lm-eval's own default."""
    chat: bool = False
    """Whether prompts go through the chat template."""
    id_field: str | None = None
    group_field: str | None = None
    cluster_field: str | None = None
    """Fields of the task's documents; None is what the task's metadata says, if anything.
    Without an id an item is called by its place; a group's items by their task's name."""

    @field_validator("task")
    @classmethod
    def _a_yaml_file_is_a_path(cls, task: Path | str) -> Path | str:
        return Path(task) if str(task).endswith((".yaml", ".yml")) else str(task)

    def files(self) -> Mapping[str, Path]:
        from eval.task_files import files_of

        return files_of(self.task, self.data)

    def num_items(self) -> int:
        from eval.task_files import num_rows

        return num_rows(self.task, self.data)


class AnswerQualityConfig(Record):
    data: Path
    """JSONL of conversations; the last assistant message is the reference."""
    metric: Literal["rouge", "rouge_recall", "bleu", "chrf", "string_similarity"] = "rouge"
    """``rouge`` is ROUGE-L's F-measure; its recall does not mind words beyond the reference."""
    max_items: int | None = Field(default=None, ge=1)
    last_messages: int | None = Field(default=None, ge=1)
    """How many messages before the answer are shown, a leading system message besides."""
    max_tokens: int = Field(default=96, ge=1)


class TaskSuccessConfig(Record):
    data: Path
    """JSONL of conversations that end with a user's message, with the rule in their tags."""
    max_items: int | None = Field(default=None, ge=1)
    max_tokens: int = Field(default=96, ge=1)


def bits_per_byte(runner: Runner, config: BitsPerByteConfig) -> Measured:
    """Bits that the model needs for each document; the value is a sum, the weight its bytes."""
    from eval.perplexity import measure

    return measure(runner, config)


def benchmark(runner: Runner, config: BenchmarkConfig) -> Measured:
    """1 where the right choice, sentence, word or answer comes out, by lm-eval's tasks."""
    from eval.harness import measure

    return measure(runner, config)


def lm_eval_task(runner: Runner, config: LmEvalTaskConfig) -> Measured:
    """1 where the item is right by the task's own metric, in lm-eval's own words."""
    from eval.task_run import measure

    return measure(runner, config)


def answer_quality(runner: Runner, config: AnswerQualityConfig) -> Measured:
    """Likeness of the greedy answer to the reference answer, in [0, 1], by ragas."""
    from eval.answers import measure_quality

    return measure_quality(runner, config)


def task_success(runner: Runner, config: TaskSuccessConfig) -> Measured:
    """1 where the greedy answer does what was asked with every value right, by the rule."""
    from eval.answers import measure_success

    return measure_success(runner, config)


def judged_quality(runner: Runner, config: JudgedQualityConfig) -> Measured:
    """What a judge behind an OpenAI-compatible address makes of the answer, in [0, 1], by ragas."""
    from eval.judged import measure

    return measure(runner, config)


def human_ratings(runner: Runner, config: HumanRatingsConfig) -> Measured:
    """Mean of what people gave the checkpoint's answer, as a share of the scale, from a file."""
    from eval.ratings import measure

    return measure(runner, config)


CHECKS = (
    Check(
        name="bits_per_byte",
        measure=bits_per_byte,
        config=BitsPerByteConfig,
        kind="bits_per_byte",
        higher_is_better=False,
        unit="bits/byte",
        bounds=(0.0, None),
        zero="both checkpoints find the documents equally likely",
        source="Gao et al. 2020, The Pile, https://arxiv.org/abs/2101.00027, section 3.1",
        shows_answers=True,
        texts=item_texts.of_documents,
    ),
    Check(
        name="benchmark",
        measure=benchmark,
        config=BenchmarkConfig,
        kind="binary",
        higher_is_better=True,
        unit="share right",
        bounds=(0.0, 1.0),
        zero="both checkpoints get equally many items right",
        source="Gao et al. 2024, lm-evaluation-harness 0.4.13, doi:10.5281/zenodo.12608602",
        shows_answers=True,
        texts=item_texts.of_benchmark,
    ),
    Check(
        name="lm_eval_task",
        measure=lm_eval_task,
        config=LmEvalTaskConfig,
        kind="binary",
        higher_is_better=True,
        unit="share right",
        bounds=(0.0, 1.0),
        zero="both checkpoints get equally many items right",
        source="Gao et al. 2024, lm-evaluation-harness 0.4.13, doi:10.5281/zenodo.12608602",
        texts=item_texts.of_lm_eval_task,
    ),
    Check(
        name="answer_quality",
        measure=answer_quality,
        config=AnswerQualityConfig,
        kind="numeric",
        higher_is_better=True,
        unit="score",
        bounds=(0.0, 1.0),
        zero="both checkpoints' answers are equally like the references",
        source="ragas 0.4.3, metrics.collections: Lin 2004 (ROUGE-L), Papineni et al. 2002 "
        "(BLEU), Popovic 2015 (chrF), Levenshtein 1966",
        shows_answers=True,
        texts=item_texts.of_answers,
    ),
    Check(
        name="task_success",
        measure=task_success,
        config=TaskSuccessConfig,
        kind="binary",
        higher_is_better=True,
        unit="share right",
        bounds=(0.0, 1.0),
        zero="both checkpoints answer equally many questions rightly",
        source="the generator's own rule, train.synth_rules",
        shows_answers=True,
        texts=item_texts.of_tasks,
    ),
    Check(
        name="judged_quality",
        measure=judged_quality,
        config=JudgedQualityConfig,
        kind="numeric",
        higher_is_better=True,
        unit="score",
        bounds=(0.0, 1.0),
        zero="the judge finds both checkpoints' answers equally good",
        source="Es et al. 2024, Ragas, EACL demonstrations, doi:10.18653/v1/2024.eacl-demo.16; "
        "ragas 0.4.3; correction: Rogan & Gladen 1978, Am J Epidemiology 107:71-76",
        shows_answers=True,
        texts=item_texts.of_answers,
    ),
    Check(
        name="human_ratings",
        measure=human_ratings,
        config=HumanRatingsConfig,
        kind="numeric",
        higher_is_better=True,
        unit="share of the scale",
        bounds=(0.0, 1.0),
        zero="people find both checkpoints' answers equally good",
        source="Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, University of "
        "Pennsylvania, repository.upenn.edu/asc_papers/43",
        needs_model=False,
        shows_answers=True,
    ),
)
