"""A checkpoint: a Hugging Face folder plus ``manifest.json``, written last.

The manifest's presence means complete. The weights digest, taken over every file
that decides an answer (weights, configuration, tokenizer, chat template), is the
identity of a checkpoint everywhere. Only safetensors are loaded, never pickles.
The manifest itself, the hallmark and the model card (``README.md``) stand outside
the digest, because they are written about the files after these are final. It does
not know whether a checkpoint is any good: that is the hallmark's business.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, ValidationError

from registry.folders import put_in_place, sync
from registry.provenance import code_revision, library_versions
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

MANIFEST = "manifest.json"
HALLMARK = "hallmark.json"
MODEL_CARD = "README.md"
ADAPTER_CONFIG = "adapter_config.json"
OUTSIDE_THE_DIGEST = frozenset({MANIFEST, HALLMARK, MODEL_CARD})
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})

Stage = Literal["pretrain", "sft", "prefer", "import"]


class CheckpointError(UserError):
    """The folder is not a checkpoint that may be used: incomplete, changed, or unsafe."""


class FileEntry(Record):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
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

    @property
    def is_adapter(self) -> bool:
        """A LoRA adapter: it answers only upon its base, which is its parent."""
        return ADAPTER_CONFIG in self.files


class Lineage(Record):
    """What the trainer knows and the files do not: everything in a manifest but the files."""

    name: str
    stage: Stage
    parent_digest: str | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    datasets: tuple[DatasetRef, ...] = ()
    optimizer_lineage: tuple[str, ...] = ()
    seed: int = 0
    tokens_seen: int = 0


def weights_digest(files: Mapping[str, FileEntry], parent_digest: str | None = None) -> str:
    """``sha256:...`` over the sorted ``path``, ``sha256`` pairs of a checkpoint's files.

    An adapter's covers its base, ``parent_digest``, too: upon another one it says other things.
    """
    pairs = [[path, files[path].sha256] for path in sorted(files)]
    if ADAPTER_CONFIG in files:
        pairs.append(["/base", str(parent_digest)])
    return digest_of(pairs)


def publish(staging: Path, destination: Path, lineage: Lineage) -> Manifest:
    """Hash ``staging``'s files, write the manifest last, and move it to ``destination``.

    A reader of ``destination`` sees nothing or the whole checkpoint. ``staging`` is gone
    afterwards; a failure or an interruption leaves it there, without a manifest. A
    hallmark that was copied along is dropped: it is of other weights. Publishing the
    same files with the same lineage again changes nothing and returns the manifest that
    is there. Raises CheckpointError where the folder is unsafe or the place is taken.
    """
    for left_over in (MANIFEST, HALLMARK):
        (staging / left_over).unlink(missing_ok=True)
    paths = _files(staging)
    _refuse_unsafe(staging, paths)
    if ADAPTER_CONFIG in paths and lineage.parent_digest is None:
        raise CheckpointError(
            f"{staging} is an adapter; publish it with its base's weights digest as its parent"
        )
    files = {
        name: FileEntry(sha256=file_sha256(path), size_bytes=path.stat().st_size)
        for name, path in paths.items()
        if name not in OUTSIDE_THE_DIGEST
    }
    manifest = Manifest(
        **{name: getattr(lineage, name) for name in Lineage.model_fields},
        weights_digest=weights_digest(files, lineage.parent_digest),
        files=files,
        versions=library_versions(),
        code_revision=code_revision(),
        created_at=datetime.now(UTC),
    )
    if destination.exists():
        return _publish_again(staging, destination, manifest)
    try:
        for path in paths.values():
            sync(path)
        write_atomically(staging / MANIFEST, canonical_json(manifest))
        sync(staging)
        put_in_place(staging, destination)
    except FileExistsError as error:
        (staging / MANIFEST).unlink(missing_ok=True)
        raise CheckpointError(
            f"{destination} was taken while publishing; choose another name"
        ) from error
    except BaseException:
        (staging / MANIFEST).unlink(missing_ok=True)
        raise
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest as it stands, files unchecked. Raises CheckpointError."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder at {folder}; `hallmark status` lists them")
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {MANIFEST}, so it is no complete checkpoint; "
            "take it in with `hallmark import`"
        )
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except (ValidationError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({first_problem(error)}); "
            "restore the checkpoint or train it again"
        ) from error
    for name in manifest.files:
        if not _stays_inside(name) or name in OUTSIDE_THE_DIGEST:
            raise CheckpointError(
                f"{path} names the file {name!r}, which no manifest may; do not use this folder"
            )
    return manifest


def verify(folder: Path) -> Manifest:
    """The manifest, after every file was hashed afresh. Raises CheckpointError naming the file."""
    manifest = read_manifest(folder)
    digest = weights_digest(manifest.files, manifest.parent_digest)
    advice = "restore the checkpoint from a copy, or train it again"
    if digest != manifest.weights_digest:
        raise CheckpointError(
            f"{folder / MANIFEST} was tampered with: it says weights digest "
            f"{short(manifest.weights_digest)}, but its files come to {short(digest)}; {advice}"
        )
    paths = _files(folder)
    _refuse_unsafe(folder, paths)
    found = paths.keys() - OUTSIDE_THE_DIGEST
    expected = manifest.files.keys()
    changed = [
        name for name in sorted(found & expected) if _changed(paths[name], manifest.files[name])
    ]
    differences = [
        f"{what} {', '.join(names)}"
        for what, names in (
            ("changed", changed),
            ("missing", sorted(expected - found)),
            ("added", sorted(found - expected)),
        )
        if names
    ]
    if differences:
        raise CheckpointError(
            f"the files in {folder} are not those of its manifest "
            f"(weights digest {short(digest)}): {'; '.join(differences)}; {advice}"
        )
    return manifest


def _publish_again(staging: Path, destination: Path, manifest: Manifest) -> Manifest:
    clock = {"created_at", "versions", "code_revision"}
    there = verify(destination)
    if there.model_dump(exclude=clock) != manifest.model_dump(exclude=clock):
        raise CheckpointError(
            f"{destination} already holds checkpoint {there.name} "
            f"({short(there.weights_digest)}), trained otherwise; choose another name"
        )
    shutil.rmtree(staging)
    return there


def _files(folder: Path) -> dict[str, Path]:
    """Every file below ``folder`` by its relative POSIX path; refuses links that lead outside."""
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder at {folder}")
    root = folder.resolve()
    files: dict[str, Path] = {}
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            # A link to a folder could lead in circles; a link that is no file could be anything.
            if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root)):
                raise CheckpointError(
                    f"{path} is a link that leaves the checkpoint folder or names no file; "
                    "put the file itself in its place"
                )
            if path.is_dir():
                pending.append(path)
            elif path.is_file():
                files[path.relative_to(folder).as_posix()] = path
            else:
                raise CheckpointError(f"{path} is neither file nor folder; remove it")
    return files


def _refuse_unsafe(folder: Path, names: Mapping[str, Path]) -> None:
    pickles = sorted(name for name in names if PurePosixPath(name).suffix.lower() in PICKLES)
    if pickles:
        raise CheckpointError(
            f"{folder} holds {', '.join(pickles)}: pickled files can run code when they are "
            "loaded; save the weights as safetensors and remove them"
        )
    if "config.json" not in names and ADAPTER_CONFIG not in names:
        raise CheckpointError(f"{folder} has no config.json; save the model with its configuration")
    if not any(name.endswith(".safetensors") for name in names):
        raise CheckpointError(f"{folder} has no *.safetensors; save the weights as safetensors")


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        name == path.as_posix()
        and name not in ("", ".")
        and not path.is_absolute()
        and ".." not in path.parts
        and not set("\\\0") & set(name)
    )


def _changed(path: Path, entry: FileEntry) -> bool:
    return path.stat().st_size != entry.size_bytes or file_sha256(path) != entry.sha256
