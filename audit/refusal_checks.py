"""Refusal and over-refusal: is what is harmful declined, and nothing else?

Two checks over two kinds of request, read side by side: a model that answers everything
passes the second and one that declines everything the first. The kinds are twins
(``audit.refusal_prompts``), or a user's own file in the manner of XSTest. Answers are
greedy; ``audit.refusal.is_refusal`` says whether one declines, and how often it errs is
measured in its tests. A model that keeps to its shop ("I can only help with orders") declines
many harmless requests too: judge its over-refusal against the champion or by requests of the
shop's own.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from audit import refusal
from audit.intersections import compare_cells
from audit.parity import compare_groups
from audit.refusal import is_refusal
from audit.refusal_prompts import RefusalPrompt, refusal_prompts
from eval.checks import Measured
from eval.runner import Answer, Runner, Sampling
from eval.stats import clopper_pearson
from registry.conversation import Message
from registry.dataset import read_jsonl
from registry.evidence import Item
from registry.records import UserError, digest_of

PERMUTATION_SEED = 0
XSTEST_COLUMNS = ("id", "prompt", "type", "label")


class RefusalPromptsError(UserError):
    """The file of requests cannot be used, or has none of the kind that is measured."""


def _detector_digest() -> str:
    return digest_of(inspect.getsource(refusal))


def _built_in_digest(fields: dict[str, Any]) -> str | None:
    if fields.get("prompts") is not None:
        return None
    both = (*refusal_prompts(harmful=True), *refusal_prompts(harmful=False))
    return digest_of([[one.key, one.prompt] for one in both])


class RefusalConfig(BaseModel):
    """Which requests are put to the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: Path | None = None
    """JSONL of {"id", "prompt", "harmful"} with "category", "group", "gender" and "template"
    where there are such, or XSTest's own CSV; the built-in requests where None. Each check
    takes those of its kind."""
    max_prompts: int | None = Field(default=None, ge=1)
    """At most so many, in turns over the templates, within one by content hash."""
    max_tokens: int = Field(default=48, ge=1)
    """Of an answer; a refusal is looked for in its opening."""
    built_in: str | None = Field(default_factory=_built_in_digest)
    """Digest of the built-in requests where they are used. Not to be set."""
    detector: str = Field(default_factory=_detector_digest)
    """Digest of the detector, so that evidence of another one is not reused. Not to be set."""


def harmful_refused(runner: Runner, config: RefusalConfig) -> Measured:
    """1 where a harmful request was declined."""
    return _measure(runner, config, harmful=True)


def over_refusal(runner: Runner, config: RefusalConfig) -> Measured:
    """1 where a harmless request was declined."""
    return _measure(runner, config, harmful=False)


def harmful_texts(config: RefusalConfig) -> dict[str, tuple[str, ...]]:
    """Each harmful request by its key."""
    return {one.key: (one.prompt,) for one in _chosen(config, harmful=True)}


def harmless_texts(config: RefusalConfig) -> dict[str, tuple[str, ...]]:
    """Each harmless request by its key."""
    return {one.key: (one.prompt,) for one in _chosen(config, harmful=False)}


def _measure(runner: Runner, config: RefusalConfig, *, harmful: bool) -> Measured:
    prompts = _chosen(config, harmful=harmful)
    answers = runner.answers(
        [[Message(role="user", content=one.prompt)] for one in prompts],
        Sampling(max_tokens=config.max_tokens),
    )
    return measured(prompts, answers)


def measured(prompts: Sequence[RefusalPrompt], answers: Sequence[Answer]) -> Measured:
    """Items, summary and tables for answers that were given to requests of one kind."""
    pairs = list(zip(prompts, answers, strict=True))
    items = tuple(
        Item(
            key=prompt.key,
            content_hash=digest_of(prompt.prompt),
            value=None if answer.unscored is not None else float(is_refusal(answer)),
            unscored=answer.unscored,
            cluster=prompt.template,
            group=prompt.group,
            answer=None if answer.unscored is not None else str(answer),
        )
        for prompt, answer in pairs
    )
    scored = [
        (prompt, item.value)
        for (prompt, _), item in zip(pairs, items, strict=True)
        if item.value is not None
    ]
    refused = [value for _, value in scored]
    bad = [bool(value) != prompt.harmful for prompt, value in scored]
    groups = compare_groups(
        bad,
        refused,
        [prompt.group for prompt, _ in scored],
        [prompt.template for prompt, _ in scored],
        ruler_gap=None,
        rng=np.random.default_rng(PERMUTATION_SEED),
    )
    cells = compare_cells(
        bad,
        refused,
        [prompt.group for prompt, _ in scored],
        [prompt.gender for prompt, _ in scored],
        [prompt.template for prompt, _ in scored],
        rng=np.random.default_rng(PERMUTATION_SEED),
    )
    overall = _row(refused)
    return Measured(
        items=items,
        summary={
            "refused_share": overall["share"],
            "refused_low": overall["low"],
            "refused_high": overall["high"],
            "group_gap": groups["gap"],
            "group_gap_p": groups["gap_p"],
        },
        tables={
            "by_category": {
                category: _row([value for prompt, value in scored if prompt.category == category])
                for category in sorted({prompt.category for prompt, _ in scored})
            },
            "groups": groups,
            "groups_by_gender": cells,
            "detector": {"errors": refusal.HELD_OUT_ERRORS},
        },
    )


def _row(refused: Sequence[float]) -> dict[str, Any]:
    """Counts and share with its 95% Clopper-Pearson interval (answers taken as independent)."""
    if not refused:
        return {"items": 0, "refused": 0, "share": None, "low": None, "high": None}
    num = sum(value == 1 for value in refused)
    low, high = clopper_pearson(num, len(refused))
    return {
        "items": len(refused),
        "refused": num,
        "share": num / len(refused),
        "low": low,
        "high": high,
    }


def _chosen(config: RefusalConfig, *, harmful: bool) -> list[RefusalPrompt]:
    if config.prompts is None:
        return choose(refusal_prompts(harmful=harmful), config.max_prompts)
    kept = [one for one in read_prompts(config.prompts) if one.harmful == harmful]
    if not kept:
        kind = "harmful" if harmful else "harmless"
        raise RefusalPromptsError(
            f"{config.prompts} has no {kind} request; add rows with "
            f'"harmful": {str(harmful).lower()}, or leave out prompts for the built-in ones'
        )
    return choose(kept, config.max_prompts)


def choose(prompts: Sequence[RefusalPrompt], max_prompts: int | None) -> list[RefusalPrompt]:
    """At most so many, in turns over the templates; the result keeps the order given."""
    if max_prompts is None or len(prompts) <= max_prompts:
        return list(prompts)
    queues: dict[str | None, list[RefusalPrompt]] = {}
    for one in sorted(prompts, key=lambda p: hashlib.sha256(p.prompt.encode()).hexdigest()):
        queues.setdefault(one.template, []).append(one)
    turns = sorted(
        ((turn, str(name), one.key) for name, q in queues.items() for turn, one in enumerate(q)),
    )
    chosen = {key for _, _, key in turns[:max_prompts]}
    return [one for one in prompts if one.key in chosen]


class _Row(BaseModel):
    """One line of a user's JSONL; other keys may stand beside."""

    id: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    harmful: bool
    category: str = "all"
    template: str | None = None
    group: str | None = None
    gender: str | None = None


def read_prompts(path: Path) -> tuple[RefusalPrompt, ...]:
    """Requests of a user's file: XSTest's CSV by its suffix, else JSONL.

    Raises RefusalPromptsError naming file and row, DatasetError for a row that is no JSON.
    """
    readers: dict[str, Callable[[Path], Iterator[RefusalPrompt]]] = {".csv": _read_xstest}
    prompts = tuple(readers.get(path.suffix, _read_rows)(path))
    seen: set[str] = set()
    for one in prompts:
        if one.key in seen:
            raise RefusalPromptsError(f"{path}: the id {one.key!r} is there twice; make ids unique")
        seen.add(one.key)
    return prompts


def _read_rows(path: Path) -> Iterator[RefusalPrompt]:
    for row in read_jsonl(path, _Row):
        yield RefusalPrompt(
            row.id, row.prompt, row.harmful, row.category, row.template, row.group, row.gender
        )


def _read_xstest(path: Path) -> Iterator[RefusalPrompt]:
    """XSTest's columns: ``type`` is the category and what prompts share, ``label`` safe or not."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in XSTEST_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RefusalPromptsError(
                    f"{path} has no column {', '.join(missing)}; it needs "
                    f"{', '.join(XSTEST_COLUMNS)}, or give JSONL"
                )
            for line in reader:
                if line["label"] not in {"safe", "unsafe"} or not line["prompt"]:
                    raise RefusalPromptsError(
                        f"{path}, line {reader.line_num}: label {line['label']!r}, prompt "
                        f"{line['prompt']!r}; labels are safe and unsafe, and no prompt is empty"
                    )
                yield RefusalPrompt(
                    key=line["id"],
                    prompt=line["prompt"],
                    harmful=line["label"] == "unsafe",
                    category=line["type"],
                    template=line["type"],
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RefusalPromptsError(
            f"cannot read the requests in {path} ({error}); give UTF-8 CSV or JSONL"
        ) from error
