"""Readers of public conversation formats, one function per format.

Every reader takes JSON Lines, plain or gzipped, and gives ``Conversation`` rows:

=============  ==============================================================
sgd            ``dialogue_id``, ``services``, ``turns`` of [U or S, text, intent?]
               (Schema-Guided Dialogue, Rastogi et al. 2020, arXiv:1909.05855)
taskmaster4    ``conversation_id``, ``turns`` of {speaker, text, api?}
               (Taskmaster-4, arXiv:2403.10704)
messages       ``messages`` of {role, content}, ``id`` where there is one (OpenAI)
=============  ==============================================================

``read_rewards`` reads Taskmaster's rated answers for preference training. A row that
cannot be read ends the reading with one error that names file and line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from registry.conversation import Conversation, Message, Role
from registry.records import (
    Record,
    UserError,
    describe_unknown,
    digest_of,
    first_problem,
    short,
)

T = TypeVar("T")


class SourceError(UserError):
    """A source file or one of its rows cannot be read."""


class LabelledCompletion(Record):
    """An answer that a person rated: ``label`` is True for a good one."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool


@dataclass(frozen=True)
class Format:
    """How rows of one format become conversations, and the licence its data comes under."""

    parse: Callable[[dict[str, Any]], Conversation]
    licence: str


def read(path: Path, format: str, *, licence: str | None = None) -> Iterator[Conversation]:
    """All conversations of a file, one by one.

    A row's own ``licence`` counts first, then ``licence``, then the format's usual one.
    Raises SourceError for an unknown format at once, and while reading for a missing
    file and a row that is not of the format.
    """
    if format not in FORMATS:
        hint = "; read it with read_rewards" if format == "taskmaster_rewards" else ""
        raise SourceError(describe_unknown("format", format, list(FORMATS)) + hint)
    chosen = FORMATS[format]
    return _conversations(path, format, chosen.parse, licence or chosen.licence)


def read_rewards(path: Path) -> Iterator[LabelledCompletion]:
    """Taskmaster's rated answers: the dialogue so far, the answer, and whether it was good.

    Calls of an API are left out of the dialogue, and a row whose answer is one is left
    out altogether, as is one with no user's message before the answer.
    """
    for where, row in _rows(path):
        found = _guarded(_reward, row, where, "taskmaster_rewards")
        if found is not None:
            yield found


def _conversations(
    path: Path, format: str, parse: Callable[[dict[str, Any]], Conversation], licence: str
) -> Iterator[Conversation]:
    for where, row in _rows(path):
        conversation = _guarded(parse, row, where, format)
        yield conversation.model_copy(update={"licence": str(row.get("licence") or licence)})


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", row) of a JSON Lines file, blank lines left out."""
    if path.is_dir():
        files = ", ".join(sorted(p.name for p in path.iterdir() if ".jsonl" in p.name))
        raise SourceError(f"{path} is a folder; name one of its files: {files or 'no .jsonl here'}")
    if not path.is_file():
        raise SourceError(f"{path} does not exist; give the path of a .jsonl or .jsonl.gz file")
    line = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line, data in enumerate(file, 1):
                if data.strip():
                    yield f"{path}:{line}", _row(data, f"{path}:{line}")
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(
            f"{path} cannot be read after line {line}: {error}; fetch the file again"
        ) from error


def _row(data: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(data)
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: not UTF-8 ({error.reason}); re-encode the file") from error
    except json.JSONDecodeError as error:
        raise SourceError(
            f"{where}: not JSON ({error.msg} at column {error.colno}); fix or delete the line"
        ) from error
    if not isinstance(row, dict):
        raise SourceError(
            f"{where}: not a JSON object but a {type(row).__name__}; fix or delete the line"
        )
    return row


def _guarded(
    parse: Callable[[dict[str, Any]], T], row: dict[str, Any], where: str, format: str
) -> T:
    """Run a parser; whatever it trips over becomes one SourceError about this row."""
    try:
        return parse(row)
    except KeyError as error:
        problem = f"no key {error}; have {', '.join(sorted(row)) or 'none'}"
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        problem = first_problem(error)
    raise SourceError(f"{where}: not a row of format {format}: {problem}; fix or delete the line")


def _dialogue(turns: Iterable[tuple[Role, str]]) -> tuple[Message, ...]:
    """Messages in turn: consecutive ones of one role are joined, empty ones left out."""
    messages: list[Message] = []
    for role, text in turns:
        if not isinstance(text, str):
            raise ValueError(f"a turn's text is a {type(text).__name__}, not a string")
        if messages and messages[-1].role == role and role != "system":
            joined = f"{messages[-1].content} {text}".strip()
            messages[-1] = Message(role=role, content=joined)
        elif text.strip():
            messages.append(Message(role=role, content=text))
    if not messages:
        raise ValueError("no turn has a text")
    return tuple(messages)


def _role(speaker: object) -> Role:
    roles: dict[object, Role] = {
        "U": "user", "S": "assistant", "user": "user", "assistant": "assistant",
        "agent": "assistant", "system": "system", "developer": "system",
    }  # fmt: skip
    if speaker not in roles:
        raise ValueError(f"unknown speaker {speaker!r}; have {', '.join(map(str, roles))}")
    return roles[speaker]


def _sgd(row: dict[str, Any]) -> Conversation:
    turns = row["turns"]
    intents = [turn[2] for turn in turns if len(turn) > 2 and turn[2] != "NONE"]
    return Conversation(
        id=f"sgd-{row['dialogue_id']}",
        messages=_dialogue((_role(turn[0]), turn[1]) for turn in turns),
        source="sgd",
        licence="",
        tags={
            "intents": list(dict.fromkeys(intents)),
            "services": row["services"],
            "group": row["services"][0].partition("_")[0],
        },
    )


def _taskmaster4(row: dict[str, Any]) -> Conversation:
    turns = row["turns"]
    calls = [name for turn in turns for name in turn.get("api", [])[::2]]
    return Conversation(
        id=f"taskmaster4-{row['conversation_id']}",
        messages=_dialogue((_role(turn["speaker"]), turn.get("text", "")) for turn in turns),
        source="taskmaster4",
        licence="",
        tags={"intents": list(dict.fromkeys(calls)), "group": row.get("vertical", "")},
    )


def _messages(row: dict[str, Any]) -> Conversation:
    messages = _dialogue((_role(m["role"]), _content(m["content"])) for m in row["messages"])
    name = row.get("id") or short(digest_of([m.model_dump() for m in messages]))
    return Conversation(
        id=f"messages-{name}",
        messages=messages,
        source="messages",
        licence="",
        tags=row.get("tags") or {},
    )


def _content(content: object) -> str:
    """A message's text, given as a string or as OpenAI's list of text parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError(f"content must be a string or a list of parts, not {content!r:.40}")
    for part in content:
        if part.get("type") != "text":
            raise ValueError(f"content part of type {part.get('type')!r}; only text can be read")
    return " ".join(str(part["text"]) for part in content)


def _reward(row: dict[str, Any]) -> LabelledCompletion | None:
    said = [turn for turn in json.loads(row["context"]) if "text" in turn]
    answer = json.loads(row["generation"])
    if row["reward"] not in (0, 1):
        raise ValueError(f"reward must be 0 or 1, not {row['reward']!r}")
    if "text" not in answer or not answer["text"].strip() or not said or said[-1]["role"] != "user":
        return None
    return LabelledCompletion(
        prompt=_dialogue((_role(turn["role"]), turn["text"]) for turn in said),
        completion=_dialogue([(_role(answer["role"]), answer["text"])]),
        label=row["reward"] == 1,
    )


FORMATS: dict[str, Format] = {
    "sgd": Format(_sgd, "CC-BY-SA-4.0"),
    "taskmaster4": Format(_taskmaster4, "CC-BY-4.0"),
    "messages": Format(_messages, "unspecified"),
}
