"""Checks that ask the model for answers: against a reference text, and against a rule.

``answer_quality`` uses the metrics of ragas that need no judge; every row is accounted
for, a row that a metric cannot score is unscored with the reason. ``task_success`` asks
the rule that made the question (``train.synth``) whether the answer is right.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from eval.checks import AnswerQualityConfig, Measured, TaskSuccessConfig
from eval.rows import RowsError, conversations, count_by_group, tag
from eval.runner import Answer, Runner, Sampling
from registry.conversation import Conversation, Message
from registry.evidence import Item
from registry.records import digest_of


def measure_quality(runner: Runner, config: AnswerQualityConfig) -> Measured:
    rows = conversations(config.data, limit=config.max_items)
    asked = [question_of(row, config.last_messages) for row in rows]
    answers = ask(runner, [dialogue for dialogue, _ in asked], config.max_tokens)
    pairs = [(reference, answer) for (_, reference), answer in zip(asked, answers, strict=True)]
    scored = score_texts(config.metric, pairs)
    items = tuple(
        Item(
            key=row.id,
            content_hash=digest_of([plain(dialogue), reference]),
            value=value,
            unscored=reason,
            cluster=tag(row, "template"),
            group=tag(row, "intent") or row.source,
            answer=None if answer.unscored else str(answer),
        )
        for row, (dialogue, reference), answer, (value, reason) in zip(
            rows, asked, answers, scored, strict=True
        )
    )
    return Measured(items, summary=_means(pairs, config.metric, scored))


def measure_success(runner: Runner, config: TaskSuccessConfig) -> Measured:
    from train.synth import judge_answer

    rows = conversations(config.data, limit=config.max_items)
    answers = ask(runner, [row.messages for row in rows], config.max_tokens)
    items = []
    mistakes: Counter[str] = Counter()
    for row, answer in zip(rows, answers, strict=True):
        ruling = None if answer.unscored else judge_answer(row.tags, str(answer))
        if ruling is not None and not ruling.right:
            mistakes[ruling.reason.split(":")[0]] += 1
        items.append(
            Item(
                key=row.id,
                content_hash=digest_of([plain(row.messages), row.tags]),
                value=None if ruling is None else float(ruling.right),
                unscored=answer.unscored,
                cluster=tag(row, "template"),
                group=tag(row, "intent"),
                answer=None if answer.unscored else str(answer),
            )
        )
    values = [item.value for item in items if item.value is not None]
    return Measured(
        tuple(items),
        summary={
            "task_success": sum(values) / len(values) if values else None,
            "items": float(len(items)),
        },
        tables={"by_group": count_by_group(items), "mistakes": dict(sorted(mistakes.items()))},
    )


def ask(runner: Runner, dialogues: Sequence[Sequence[Message]], max_tokens: int) -> list[Answer]:
    return runner.answers(dialogues, Sampling(max_tokens=max_tokens))


def question_of(row: Conversation, last_messages: int | None) -> tuple[tuple[Message, ...], str]:
    """The dialogue to be answered, and the reference answer ("" where there is none).

    A conversation that ends with the assistant is cut before that message, which is the
    reference; one that ends with the user has it in ``tags["reference"]``.
    """
    last_said = max(
        (i for i, message in enumerate(row.messages) if message.role == "assistant"), default=None
    )
    if row.messages and row.messages[-1].role == "user":
        dialogue, reference = row.messages, tag(row, "reference") or ""
    elif last_said is None:
        dialogue, reference = row.messages, ""
    else:
        dialogue, reference = row.messages[:last_said], row.messages[last_said].content
    if not any(message.role == "user" for message in dialogue):
        raise RowsError(f"conversation {row.id!r} asks nothing before its answer; remove it")
    if last_messages is not None and len(dialogue) > last_messages:
        system = [message for message in dialogue[:1] if message.role == "system"]
        dialogue = (*system, *dialogue[-last_messages:])
    return dialogue, reference


def score_texts(
    metric: str, pairs: Sequence[tuple[str, str]]
) -> list[tuple[float | None, str | None]]:
    """(value, None) or (None, reason) for each (reference, answer), in order; values in [0, 1]."""
    reasons = [_unusable(reference, answer) for reference, answer in pairs]
    usable = [pair for pair, reason in zip(pairs, reasons, strict=True) if reason is None]
    values = iter(asyncio.run(_score_all(metric, usable)))
    return [_outcome(next(values)) if reason is None else (None, reason) for reason in reasons]


def _unusable(reference: str, answer: str) -> str | None:
    if isinstance(answer, Answer) and answer.unscored:
        return answer.unscored
    return None if reference.strip() else "the row has no reference answer"


def _outcome(result: Any) -> tuple[float | None, str | None]:
    if isinstance(result, Exception):
        return None, f"the metric failed: {type(result).__name__}: {result}"
    value = None if result.value is None else float(result.value)
    if value is None or not math.isfinite(value):
        return None, "the metric gave no number"
    return min(value, 1.0), None  # 1.0000000000000002 is a rounding of 1


async def _score_all(metric: str, pairs: Sequence[tuple[str, str]]) -> list[Any]:
    """Results in order; a failing row gives its exception and takes no other row with it.

    ragas' own ``abatch_score`` gathers without return_exceptions: one bad row loses all.
    """
    scorer = _metrics()[metric]()
    prepared = [
        (reference, str(answer))
        if metric != "bleu"
        else (_one_segment(reference), _one_segment(answer))
        for reference, answer in pairs
    ]
    tasks = [scorer.ascore(reference=one, response=other) for one, other in prepared]
    return await asyncio.gather(*tasks, return_exceptions=True)


def _one_segment(text: str) -> str:
    """The same words with no ``". "`` in them.

    ragas 0.4.3 splits at it and hands sacrebleu each sentence of the reference as a
    further reference stream, so texts of several sentences score 0 or nonsense.
    """
    return text.replace(". ", ".\n")


def _metrics() -> Mapping[str, Any]:
    from ragas.metrics import collections

    return {
        "rouge": collections.RougeScore,
        "rouge_recall": partial(collections.RougeScore, mode="recall"),
        "bleu": collections.BleuScore,
        "chrf": collections.CHRFScore,
        "string_similarity": collections.NonLLMStringSimilarity,
    }


def _means(
    pairs: Sequence[tuple[str, str]],
    metric: str,
    scored: Sequence[tuple[float | None, str | None]],
) -> dict[str, float | None]:
    """Means over the scored rows: the judged metric, and the others to look at."""
    means: dict[str, float | None] = {}
    for name in _metrics():
        values = [v for v, _ in (scored if name == metric else score_texts(name, pairs))]
        known = [value for value in values if value is not None]
        means[name] = sum(known) / len(known) if known else None
    return means | {"items": float(len(pairs))}


def plain(dialogue: Sequence[Message]) -> list[list[str]]:
    return [[message.role, message.content] for message in dialogue]
