"""`hallmark import`: a checkpoint that was trained elsewhere becomes one of ours."""

from __future__ import annotations

import tempfile
from pathlib import Path

from commands.session import Session
from registry.checkpoint import (
    ADAPTER_CONFIG,
    PICKLES,
    CheckpointError,
    Lineage,
    publish,
    read_manifest,
)
from registry.dataset import NAME
from registry.records import short

COPY_BYTES = 16 * 2**20


def import_checkpoint(session: Session, source: Path, *, name: str, base: str | None) -> int:
    """Copy a Hugging Face folder, or a LoRA adapter upon ``base``, into the home's checkpoints."""
    if not source.is_dir():
        raise CheckpointError(f"no folder {source}; give one that save_pretrained wrote")
    if not NAME.fullmatch(name):
        raise CheckpointError(
            f"{name!r} is no name for a checkpoint; use letters, digits, dots, dashes and _"
        )
    is_adapter = (source / ADAPTER_CONFIG).is_file()
    if is_adapter and base is None:
        raise CheckpointError(f"{source} is an adapter; name the checkpoint under it with --base")
    if base is not None and not is_adapter:
        raise CheckpointError(f"{source} is a whole model; leave --base out")
    parent = None if base is None else read_manifest(session.checkpoint(base)).weights_digest
    paths = sorted(
        path for path in source.rglob("*") if path.is_file() and not _hidden(path, source)
    )
    _refuse_links_outside(paths, source)
    pickles = [path for path in paths if path.suffix.lower() in PICKLES]
    wanted = [path for path in paths if path not in pickles]
    session.home.checkpoints.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=session.home.checkpoints, prefix=".importing-") as made:
        staging = Path(made) / name
        staging.mkdir()
        copy(session, source, wanted, staging)
        lineage = Lineage(name=name, stage="import", parent_digest=parent)
        folder = session.home.checkpoints / name
        manifest = publish(staging, folder, lineage)
    session.ledger.record_checkpoint(manifest, str(folder.resolve()))
    for path in pickles:
        session.say(f"  left out {path.name}: pickled files can run code when they are loaded")
    session.say(f"checkpoint {name} {short(manifest.weights_digest)}: {folder}")
    session.say(f"  next: hallmark gate {name}")
    return 0


def copy(session: Session, source: Path, paths: list[Path], staging: Path) -> None:
    """What links lead to is copied: a download's folder holds nothing but links."""
    total = sum(path.stat().st_size for path in paths)
    done = 0
    with session.progress("copying", "bytes") as progress:
        for path in paths:
            place = staging / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as reader, place.open("wb") as writer:
                while block := reader.read(COPY_BYTES):
                    writer.write(block)
                    done += len(block)
                    progress(done, total)


def _refuse_links_outside(paths: list[Path], source: Path) -> None:
    """A model hub's cache keeps the files in ``blobs`` beside its ``snapshots``."""
    root = source.resolve()
    for path in paths:
        target = path.resolve()
        if not any(target.is_relative_to(one) for one in (root, root.parent.parent / "blobs")):
            raise CheckpointError(
                f"{path} is a link that leaves the folder; put the file itself in its place"
            )


def _hidden(path: Path, source: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(source).parts)
