"""The rows that checks read: one pydantic model per kind of JSONL, ids never twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field, model_validator

from registry.conversation import Conversation, Message
from registry.dataset import read_jsonl
from registry.evidence import Item
from registry.records import Record, UserError


class RowsError(UserError):
    """A file that a check reads has no rows, the same id twice, or rows it cannot use."""


class Row(Record):
    id: str
    group: str | None = None
    """The subgroup that tables split on: an intent, a paradigm, a domain."""
    cluster: str | None = None
    """What items share: a template, a passage, a paradigm."""


class Document(Record):
    """A text, or a conversation that the chat template renders."""

    id: str
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    group: str | None = None
    cluster: str | None = None
    source: str | None = None
    licence: str | None = None
    tags: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> Document:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either text or messages")
        return self


class ChoiceRow(Row):
    """One question; ``gold`` indexes ``choices``."""

    context: str
    choices: tuple[str, ...] = Field(min_length=2)
    gold: int = Field(ge=0)

    @model_validator(mode="after")
    def _gold_is_a_choice(self) -> ChoiceRow:
        if self.gold >= len(self.choices):
            raise ValueError(f"gold {self.gold} is beyond the {len(self.choices)} choices")
        return self


class PairRow(Row):
    """Two sentences of which the model should find ``good`` the likelier."""

    good: str = Field(min_length=1)
    bad: str = Field(min_length=1)


class ClozeRow(Row):
    """A text whose last word, ``target``, greedy decoding should say."""

    context: str
    target: str = Field(min_length=1)


class GenerateRow(Row):
    """A prompt and the answer that a generation must equal."""

    prompt: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class Identified(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=BaseModel)


def read_rows(path: Path, model: type[R], *, limit: int | None = None) -> list[R]:
    """The first ``limit`` rows, or all. Raises RowsError where there are none or ids repeat."""
    rows = list(islice(read_jsonl(path, model), limit))
    if not rows:
        raise RowsError(f"{path} has no rows to measure; give a file with at least one")
    _refuse_repeats(path, rows)  # type: ignore[arg-type]  # every model above has an id
    return rows


def _refuse_repeats(path: Path, rows: Sequence[Identified]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise RowsError(f"{path} has the id {row.id!r} twice; give every row its own")
        seen.add(row.id)


def conversations(path: Path, *, limit: int | None = None) -> list[Conversation]:
    return read_rows(path, Conversation, limit=limit)


def tag(conversation: Conversation, name: str) -> str | None:
    """A tag as text, None where the conversation has none of that name."""
    value = conversation.tags.get(name)
    return None if value is None else str(value)


def count_by_group(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """Counts, not rates: ``items``, ``right`` and ``unscored`` of each group."""
    table: dict[str, dict[str, int]] = {}
    for item in items:
        entry = table.setdefault(item.group or "all", {"items": 0, "right": 0, "unscored": 0})
        entry["items"] += 1
        entry["right"] += item.value == 1.0
        entry["unscored"] += item.value is None
    return dict(sorted(table.items()))
