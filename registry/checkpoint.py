"""A checkpoint: a Hugging Face folder plus ``manifest.json``, written last.

The manifest's presence means complete. The weights digest, taken over every file
that decides an answer (weights, configuration, tokenizer, chat template), is the
identity of a checkpoint everywhere. Only safetensors are loaded, never pickles.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from registry.records import Record, UserError

MANIFEST = "manifest.json"
HALLMARK = "hallmark.json"

Stage = Literal["pretrain", "sft", "prefer", "import"]


class CheckpointError(UserError):
    """The folder is not a checkpoint that may be used: incomplete, changed, or unsafe."""


class FileEntry(Record):
    sha256: str
    size_bytes: int


class DatasetRef(Record):
    """A dataset version that a checkpoint was trained on."""

    name: str
    digest: str
    split: str = "train"


class Manifest(Record):
    schema_version: Literal[1] = 1
    name: str
    stage: Stage
    weights_digest: str
    parent_digest: str | None
    files: dict[str, FileEntry]
    recipe: dict[str, Any]
    datasets: tuple[DatasetRef, ...]
    optimizer_lineage: tuple[str, ...]
    seed: int
    tokens_seen: int
    versions: dict[str, str]
    code_revision: str
    created_at: datetime


class Lineage(Record):
    """What the trainer knows and the files do not: everything in a manifest but the files."""

    name: str
    stage: Stage
    parent_digest: str | None = None
    recipe: dict[str, Any] = {}
    datasets: tuple[DatasetRef, ...] = ()
    optimizer_lineage: tuple[str, ...] = ()
    seed: int = 0
    tokens_seen: int = 0


def weights_digest(files: Mapping[str, FileEntry]) -> str:
    """``sha256:...`` over the sorted ``path``, ``sha256`` pairs of a checkpoint's files."""
    raise NotImplementedError


def publish(staging: Path, destination: Path, lineage: Lineage) -> Manifest:
    """Hash ``staging``'s files, write the manifest last, and move it to ``destination``."""
    raise NotImplementedError


def read_manifest(folder: Path) -> Manifest:
    """The manifest as it stands, files unchecked. Raises CheckpointError."""
    raise NotImplementedError


def verify(folder: Path) -> Manifest:
    """The manifest, after every file was hashed afresh. Raises CheckpointError naming the file."""
    raise NotImplementedError
