"""Answer quality as a model judges it, by the metrics of ragas: every row accounted for.

The judge is any OpenAI-compatible endpoint. A row that cannot be judged is unscored with
the reason; rows keep their order. Whether the judge is right is another question: with a
calibration file items become 0 or 1 and the gate corrects for the judge's errors
(``eval.judge_accuracy``); without one the evidence says that nobody measured the judge.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from eval.answers import ask, plain, question_of
from eval.checks import Measured
from eval.endpoint import EndpointError
from eval.judge_accuracy import JudgeAccuracy, measure_judge
from eval.judge_calls import METRICS, Judged, Metric, Outcome, judge_rows
from eval.judging import JudgedQualityConfig
from eval.rows import RowsError, conversations, tag
from eval.runner import Answer, Runner
from registry.conversation import Conversation, Message
from registry.evidence import Item
from registry.records import digest_of

ROWS_PER_SLOT = 8  # rows judged before they are noted, for each call that may be under way
NOT_MEASURED = (
    "the judge was not measured against people: its errors are in these figures and in no "
    "interval; calibration and threshold correct for them"
)
CORRECTED = (
    "an item is 1 where the judge gives at least the threshold; the gate's estimates and "
    "intervals are corrected for the errors that the judge made on the calibration items"
)
OF_THE_DATA = (
    "this metric compares context and reference and never looks at the answer: it judges the "
    "data and tells no checkpoint from another; "
)


def measure(runner: Runner, config: JudgedQualityConfig) -> Measured:
    """Raises EndpointError where the judge cannot be asked or judged no row at all, and
    RowsError or DatasetError where the data or the calibration cannot be used."""
    metric = METRICS[config.metric]
    accuracy = None
    if config.calibration is not None and config.threshold is not None:
        accuracy = measure_judge(
            config.calibration, threshold=config.threshold, model=config.judge.model
        )
    useless = accuracy.unusable if accuracy is not None else None
    rows = conversations(config.data, limit=config.max_items)
    asked = [question_of(row, config.last_messages) for row in rows]
    contexts = [_contexts(row, dialogue) for row, (dialogue, _) in zip(rows, asked, strict=True)]
    answers = [Answer()] * len(rows)
    if metric.judges_the_answer and useless is None:
        config.judge.key()  # before the model takes its time
        answers = ask(runner, [dialogue for dialogue, _ in asked], config.max_tokens)
    given = [
        {
            "user_input": _last_question(dialogue),
            "response": answer,
            "reference": reference,
            "retrieved_contexts": context,
        }
        for (dialogue, reference), answer, context in zip(asked, answers, contexts, strict=True)
    ]
    began = time.monotonic()
    ready = [(None, useless) if useless else _without_judge(metric, row) for row in given]
    judged = _judge_the_rest(runner, config, metric, given, ready)
    items = tuple(
        Item(
            key=row.id,
            content_hash=digest_of([plain(dialogue), reference, context]),
            value=_passed(value, config.threshold),
            unscored=reason,
            cluster=tag(row, "template"),
            group=tag(row, "intent") or row.source,
            answer=str(answer) or None,
        )
        for row, (dialogue, reference), context, answer, (value, reason) in zip(
            rows, asked, contexts, answers, judged.outcomes, strict=True
        )
    )
    scores = [value for value, _ in judged.outcomes if value is not None]
    summary = {
        config.metric: sum(scores) / len(scores) if scores else None,
        "items": float(len(items)),
        "judge_calls": float(judged.calls),
        "judge_failures": float(judged.failures),
        "judge_seconds": round(time.monotonic() - began, 3),
    }
    return Measured(items, summary, {"judge": _described(config, metric, accuracy)})


def _last_question(dialogue: Sequence[Message]) -> str:
    return [message.content for message in dialogue if message.role == "user"][-1]


def _contexts(row: Conversation, dialogue: Sequence[Message]) -> list[str]:
    """The knowledge an answer should rest on: ``tags["contexts"]``, else the system message."""
    tagged = row.tags.get("contexts")
    if tagged is None:
        return [m.content for m in dialogue if m.role == "system" and m.content.strip()]
    texts = [tagged] if isinstance(tagged, str) else tagged
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
        raise RowsError(
            f"conversation {row.id!r}: tags.contexts is {str(tagged)[:80]!r}; "
            "give a text or a list of texts"
        )
    return texts


def _without_judge(metric: Metric, row: dict[str, Any]) -> Outcome | None:
    """The outcome of a row that no judge need look at; None where one must."""
    if metric.judges_the_answer:
        if row["response"].unscored:
            return None, row["response"].unscored
        if not row["response"].strip():
            if metric.silence is not None:
                return metric.silence, None
            return None, "the answer is empty: it states nothing that could be judged"
    if "reference" in metric.looks_at and not row["reference"].strip():
        return None, "the row has no reference answer"
    if "retrieved_contexts" in metric.looks_at and not row["retrieved_contexts"]:
        return None, "the row has no context: no system message and no tag named contexts"
    return None


def _judge_the_rest(
    runner: Runner,
    config: JudgedQualityConfig,
    metric: Metric,
    given: Sequence[dict[str, Any]],
    ready: Sequence[Outcome | None],
) -> Judged:
    """All outcomes in order. A judge that failed on every row was down: nothing to be kept.

    Rows are judged so many at a time, and then noted: an interruption costs those under way. A
    value once noted is not asked for again; a row whose calls failed is, when it goes on.
    """
    open_rows = [row for row, done in zip(given, ready, strict=True) if done is None]
    keys = [_noted_as(config, row) for row in open_rows]
    found: list[Outcome | None] = [
        None if value is None else (value, None) for value in map(runner.recall, keys)
    ]
    missing = [index for index, outcome in enumerate(found) if outcome is None]
    at_once = ROWS_PER_SLOT * config.judge.concurrency
    calls = failures = 0
    for start in range(0, len(missing), at_once):
        some = missing[start : start + at_once]
        plain_rows = [
            open_rows[index] | {"response": str(open_rows[index]["response"])} for index in some
        ]
        judged = judge_rows(metric, plain_rows, config.judge, config.embeddings)
        calls, failures = calls + judged.calls, failures + judged.failures
        values: dict[str, float] = {}
        for index, outcome in zip(some, judged.outcomes, strict=True):
            found[index] = outcome
            if outcome[0] is not None:
                values[keys[index]] = outcome[0]
        left = len(missing) - start - len(some)
        runner.note(values, len(found) - left, len(found))
    rest = [outcome for outcome in found if outcome is not None]
    if failures and all(value is None for value, _ in rest):
        raise EndpointError(
            f"the judge {config.judge.model} at {config.judge.host} could judge none of "
            f"{len(rest)} rows; first: {rest[0][1]}"
        )
    following = iter(rest)
    merged = tuple(next(following) if done is None else done for done in ready)
    return Judged(merged, calls, failures)


def _noted_as(config: JudgedQualityConfig, row: Mapping[str, Any]) -> str:
    """The key of one row's value: who judges what, by which metric."""
    judge = config.model_dump(mode="json", include={"metric", "judge", "embeddings", "prompts"})
    return digest_of(["judged", judge, {name: str(part) for name, part in row.items()}])


def _passed(value: float | None, threshold: float | None) -> float | None:
    return value if value is None or threshold is None else float(value >= threshold)


def _described(
    config: JudgedQualityConfig, metric: Metric, accuracy: JudgeAccuracy | None
) -> dict[str, Any]:
    """Who judged and how well, for the report; ``counts`` is what the gate corrects by."""
    table: dict[str, Any] = {
        "name": config.judge.name,
        "model": config.judge.model,
        "host": config.judge.host,
        "metric": config.metric,
        "prompts": config.prompts,
        "note": ("" if metric.judges_the_answer else OF_THE_DATA)
        + (NOT_MEASURED if accuracy is None else CORRECTED),
    }
    if accuracy is not None:
        table |= accuracy.summary()
        table |= {"threshold": config.threshold, "counts": accuracy.model_dump()}
    return table
