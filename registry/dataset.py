"""A dataset version: a folder of JSONL files plus ``dataset.json``, written last.

Its identity is the digest over its files' contents, so the same rows are the same
version wherever and whenever they are made, and a checkpoint's manifest can name them.
Usual names in the folder: ``train.jsonl``, ``validation.jsonl``, ``test.jsonl``,
``questions.jsonl`` (conversations), ``choices.jsonl`` (benchmark rows),
``preferences.jsonl``, ``labels.jsonl``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from registry.folders import put_in_place, sync
from registry.records import (
    Record,
    UserError,
    canonical_json,
    digest_of,
    file_sha256,
    first_problem,
    short,
    write_atomically,
)

DATASET = "dataset.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

M = TypeVar("M", bound=BaseModel)


class DatasetError(UserError):
    """A dataset folder or one of its rows cannot be used."""


class DatasetFile(Record):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int
    rows: int


class DatasetManifest(Record):
    schema_version: Literal[1] = 1
    name: str
    digest: str
    licence: str
    source: str
    files: dict[str, DatasetFile]
    recipe: dict[str, Any]
    created_at: datetime


def dataset_digest(files: Mapping[str, DatasetFile]) -> str:
    """``sha256:...`` over the sorted ``name``, ``sha256`` pairs of a dataset's files."""
    return digest_of([[name, files[name].sha256] for name in sorted(files)])


def publish_dataset(
    staging: Path,
    root: Path,
    *,
    name: str,
    licence: str,
    source: str,
    recipe: Mapping[str, Any],
) -> tuple[Path, DatasetManifest]:
    """Move ``staging``, a folder of JSONL files, to ``root/NAME-<digest12>``.

    Where that version is there already it is checked and reused, with its first source
    and recipe, and ``staging`` is removed; another licence for the same rows is refused.
    A failure leaves ``staging`` as it was. Raises DatasetError.
    """
    if not NAME.fullmatch(name):
        raise DatasetError(
            f"dataset name {name!r} may hold letters, digits, '.', '_' and '-' only; rename it"
        )
    (staging / DATASET).unlink(missing_ok=True)
    paths = _files(staging)
    if not paths:
        raise DatasetError(f"{staging} has no *.jsonl file to publish as dataset {name}")
    files = {file: _describe(path) for file, path in paths.items()}
    manifest = DatasetManifest(
        name=name,
        digest=dataset_digest(files),
        licence=licence,
        source=source,
        files=files,
        recipe=dict(recipe),
        created_at=datetime.now(UTC),
    )
    destination = root / f"{name}-{short(manifest.digest)}"
    if destination.exists():
        return destination, _reuse(staging, destination, manifest)
    try:
        for path in paths.values():
            sync(path)
        write_atomically(staging / DATASET, canonical_json(manifest))
        sync(staging)
        put_in_place(staging, destination)
    except FileExistsError:  # another process was quicker with the same rows
        return destination, _reuse(staging, destination, manifest)
    except BaseException:
        (staging / DATASET).unlink(missing_ok=True)
        raise
    return destination, manifest


def read_dataset(folder: Path) -> DatasetManifest:
    """The dataset's manifest as it stands, files unchecked. Raises DatasetError."""
    path = folder / DATASET
    if not path.is_file():
        raise DatasetError(
            f"{folder} has no {DATASET}, so it is no complete dataset; make it with `hallmark data`"
        )
    try:
        manifest = DatasetManifest.model_validate_json(path.read_bytes())
    except (ValidationError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} cannot be read ({first_problem(error)}); make the dataset again"
        ) from error
    if manifest.digest != dataset_digest(manifest.files):
        raise DatasetError(
            f"{path} was altered: its digest is not that of its files; make the dataset again"
        )
    return manifest


def verify_dataset(folder: Path) -> DatasetManifest:
    """The manifest, after every file was hashed afresh. Raises DatasetError naming the file."""
    manifest = read_dataset(folder)
    paths = _files(folder)
    for name in sorted(manifest.files.keys() | paths.keys()):
        if name not in paths:
            problem = "is missing"
        elif name not in manifest.files:
            problem = "is not in the manifest"
        elif file_sha256(paths[name]) != manifest.files[name].sha256:
            problem = "was changed"
        else:
            continue
        raise DatasetError(f"{folder / name} {problem}; make the dataset again")
    return manifest


def write_jsonl(path: Path, rows: Iterable[BaseModel | Mapping[str, Any]]) -> int:
    """Write one canonical JSON row per line and return how many; nothing half-written stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    count = 0
    try:
        with unfinished.open("wb") as file:
            for row in rows:
                file.write(canonical_json(row) + b"\n")
                count += 1
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def read_jsonl(path: Path, model: type[M]) -> Iterator[M]:
    """The rows of a JSONL file, each validated; DatasetError names the file and the line."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened: {error.strerror}; check the path") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = model.model_validate_json(line)
            except ValidationError as error:
                raise DatasetError(
                    f"{path}:{number}: {first_problem(error)}; mend the row or remove it"
                ) from error
            yield row


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError(f"no dataset folder at {folder}")
    paths = {path.name: path for path in sorted(folder.iterdir()) if path.name != DATASET}
    for path in paths.values():
        if path.suffix != ".jsonl" or path.is_symlink() or not path.is_file():
            raise DatasetError(f"{path} is no JSONL file, and a dataset holds nothing else")
    return paths


def _describe(path: Path) -> DatasetFile:
    with path.open("rb") as file:
        rows = sum(1 for line in file if line.strip())
    return DatasetFile(sha256=file_sha256(path), size_bytes=path.stat().st_size, rows=rows)


def _reuse(staging: Path, folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    there = verify_dataset(folder)
    if there.licence != manifest.licence:
        raise DatasetError(
            f"{folder} holds the same rows under the licence {there.licence!r}, "
            f"not {manifest.licence!r}; find out which holds, and correct the other"
        )
    shutil.rmtree(staging)
    return there
