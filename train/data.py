"""Dataset folders and files into documents, and their names for the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from registry.checkpoint import DatasetRef
from registry.conversation import Message
from registry.dataset import DATASET, DatasetError, read_dataset, read_jsonl
from registry.records import Record, digest_of, file_sha256
from train.packing import Document, pieces, text_document
from train.tokenizer import END_OF_TEXT, encode_dialogues, encode_texts, render


class Row(Record):
    """A conversation (``messages``) or, for pre-training, a plain ``text``."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    messages: tuple[Message, ...] = ()
    text: str | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Row:
        if bool(self.messages) == (self.text is not None):
            raise ValueError("a row needs either messages or a text")
        return self

    def as_text(self) -> str:
        return self.text if self.text is not None else render(self.messages)[0]


class Pair(Record):
    """``prompt/chosen/rejected``, as TRL writes it."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...] = Field(min_length=1)
    rejected: tuple[Message, ...] = Field(min_length=1)


class Labelled(Record):
    """``prompt/completion/label``, as TRL writes it."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...] = Field(min_length=1)
    label: bool


def references(data: Sequence[Path]) -> tuple[DatasetRef, ...]:
    """Name and digest of everything that a training reads."""
    found = []
    for path in data:
        if (path / DATASET).is_file():
            manifest = read_dataset(path)
            found.append(DatasetRef(name=manifest.name, digest=manifest.digest))
        elif path.is_dir():
            files = {file.name: file_sha256(file) for file in sorted(path.glob("*.jsonl"))}
            if not files:
                raise DatasetError(f"{path} has no *.jsonl files; give a dataset folder or a file")
            found.append(DatasetRef(name=path.name, digest=digest_of(files)))
        elif path.is_file():
            found.append(DatasetRef(name=path.name, digest=f"sha256:{file_sha256(path)}"))
        else:
            raise DatasetError(f"no data at {path}; `hallmark data list` shows the datasets")
    return tuple(found)


def files_named(data: Sequence[Path], name: str) -> list[Path]:
    """The files of one name in the folders; a file given itself is for ``train``."""
    found = []
    for path in data:
        if path.is_file() and name == "train":
            found.append(path)
        elif (path / f"{name}.jsonl").is_file():
            found.append(path / f"{name}.jsonl")
    return found


def read_rows(files: Iterable[Path]) -> list[Row]:
    return [row for file in files for row in read_jsonl(file, Row)]


def text_documents(tokenizer: Any, rows: Sequence[Row], context: int) -> list[Document]:
    """Everything as text, every token supervised."""
    end_of_text = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    encoded = encode_texts(tokenizer, [row.as_text() for row in rows])
    documents = (text_document(ids, end_of_text) for ids in encoded)
    return [piece for document in documents for piece in pieces(document, context)]


def dialogue_documents(tokenizer: Any, rows: Sequence[Row], context: int) -> list[Document]:
    """Conversations, only the assistant's tokens supervised."""
    encoded = encode_dialogues(tokenizer, [row.messages for row in rows if row.messages])
    return [piece for ids, said in encoded for piece in pieces(Document(ids, said), context)]


def completion_documents(
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    completions: Sequence[Sequence[Message]],
    context: int,
) -> list[Document]:
    """Prompt and completion, only the completion supervised; old turns are cut to fit."""
    encoded = encode_dialogues(
        tokenizer,
        [(*prompt, *completion) for prompt, completion in zip(prompts, completions, strict=True)],
        taught_from=[len(prompt) for prompt in prompts],
    )
    documents = []
    for ids, said in encoded:
        begin = max(0, len(ids) - context - 1)
        documents.append(Document(ids[begin:], said[begin:]))
    return documents


def mismatch(completions: Sequence[Sequence[Message]]) -> list[Sequence[Message]]:
    """Each completion replaced by the next row's, the last by the first's."""
    order = np.roll(np.arange(len(completions)), -1)
    return [completions[index] for index in order]
