"""What each item of a check says, read from the files that the check reads.

Evidence holds only hashes of its items, so whoever looks for items elsewhere (in training
data) reads them here, under the same keys as the evidence. Of a conversation it is the
last question with its right answer: what was said before is the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eval.rows import (
    ChoiceRow,
    ClozeRow,
    Document,
    GenerateRow,
    PairRow,
    conversations,
    read_rows,
    tag,
)

if TYPE_CHECKING:
    from eval.checks import (
        AnswerQualityConfig,
        BenchmarkConfig,
        BitsPerByteConfig,
        LmEvalTaskConfig,
        TaskSuccessConfig,
    )
    from eval.judging import JudgedQualityConfig

ItemTexts = Mapping[str, tuple[str, ...]]
"""An item's texts by its key; it is known elsewhere where one of them is."""


def of_documents(config: BitsPerByteConfig) -> ItemTexts:
    """The text that is scored, without the system's message."""
    scored = {"assistant"} if config.scope == "answers" else {"user", "assistant"}
    found = {}
    for row in read_rows(config.data, Document, limit=config.max_documents):
        said = [m.content for m in row.messages or () if m.role in scored]
        found[row.id] = ("\n".join(said) if row.text is None else row.text,)
    return found


def of_benchmark(config: BenchmarkConfig) -> ItemTexts:
    """Question with the right answer; of a minimal pair each sentence."""
    path, limit = config.data, config.max_items
    if config.kind == "multiple_choice":
        choices = read_rows(path, ChoiceRow, limit=limit)
        return {row.id: (f"{row.context} {row.choices[row.gold]}",) for row in choices}
    if config.kind == "minimal_pairs":
        pairs = read_rows(path, PairRow, limit=limit)
        return {row.id: (row.good, row.bad) for row in pairs}
    if config.kind == "cloze":
        clozes = read_rows(path, ClozeRow, limit=limit)
        return {row.id: (f"{row.context} {row.target}",) for row in clozes}
    generations = read_rows(path, GenerateRow, limit=limit)
    return {row.id: (f"{row.prompt} {row.answer}",) for row in generations}


def of_lm_eval_task(config: LmEvalTaskConfig) -> ItemTexts:
    """The task's own prompt without examples, with each right answer."""
    from eval.task_run import item_key, load_tasks

    tasks = load_tasks(config)
    found: dict[str, tuple[str, ...]] = {}
    for name, task in tasks.items():
        prefix = f"{name}/" if len(tasks) > 1 else ""
        for index, doc in task.doc_iterator(limit=config.max_items):
            found[item_key(name, task, doc, index, config, prefix)] = _task_texts(task, doc)
    return found


def _task_texts(task: Any, doc: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the choices stand in the text (WinoGrande), each text; else text with answer."""
    text, target = task.doc_to_text(doc), task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(doc)
        if task.multiple_input:
            return tuple(f"{choice} {target}" for choice in choices)
        right = target if isinstance(target, list) else [target]
        answers = [choices[one] if isinstance(one, int) else str(one) for one in right]
    else:
        answers = [str(one) for one in (target if isinstance(target, list) else [target])]
    return tuple(f"{text} {answer}" for answer in answers)


def of_answers(config: AnswerQualityConfig | JudgedQualityConfig) -> ItemTexts:
    """The last message before the answer, with the reference answer."""
    from eval.answers import question_of

    found = {}
    for row in conversations(config.data, limit=config.max_items):
        dialogue, reference = question_of(row, config.last_messages)
        found[row.id] = (f"{dialogue[-1].content}\n{reference}",)
    return found


def of_tasks(config: TaskSuccessConfig) -> ItemTexts:
    """The question with the rule's own answer."""
    return {
        row.id: (f"{row.messages[-1].content}\n{tag(row, 'reference') or ''}",)
        for row in conversations(config.data, limit=config.max_items)
    }
