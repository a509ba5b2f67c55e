"""`hallmark train`: datasets in, a published checkpoint out."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from commands.prepare import prepared
from commands.session import Session
from registry.checkpoint import MANIFEST, CheckpointError, Manifest, read_manifest
from registry.dataset import DATASET, NAME, publish_dataset
from registry.records import short
from train.recipe import Recipe, load_recipe
from train.stages import Job
from train.stages import train as run_job


def train(
    session: Session,
    recipe: Recipe,
    *,
    data: tuple[Path, ...],
    parent: Path | None,
    name: str,
    seed: int,
) -> tuple[Path, Manifest]:
    """Train into ``checkpoints/NAME`` and record it; raises CheckpointError where that exists."""
    destination = session.home.checkpoints / name
    if (destination / MANIFEST).exists():
        raise CheckpointError(
            f"a checkpoint named {name!r} is at {destination}; choose another --name, "
            "or delete that folder"
        )
    job = Job(
        recipe=recipe,
        data=tuple(
            prepared(session, as_dataset(session, path), recipe, seed=seed, plant=number == 0)
            for number, path in enumerate(data)
        ),
        parent=parent,
        destination=destination,
        runs=session.home.runs,
        seed=seed,
        name=name,
    )
    with session.progress(f"training {name}", "steps") as progress:
        manifest = run_job(job, progress=progress)
    session.ledger.record_checkpoint(manifest, str(destination))
    return destination, manifest


def as_dataset(session: Session, path: Path) -> Path:
    """A dataset version as it is; of other rows (exported feedback) one that is made now and
    recorded, so that what a checkpoint was trained on can be looked through later."""
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    if (path / DATASET).is_file() or not files:
        return path
    session.home.datasets.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=session.home.datasets, prefix=".staging-") as staging:
        for file in files:
            name = "train.jsonl" if file == path else file.name
            shutil.copyfile(file, Path(staging) / name)
        folder, manifest = publish_dataset(
            Path(staging),
            session.home.datasets,
            name=path.stem if NAME.fullmatch(path.stem) else "rows",
            licence="unknown",
            source=path.name,
            recipe={},
        )
    session.ledger.record_dataset(manifest, folder)
    return folder


def run(
    session: Session,
    recipe: str,
    *,
    data: tuple[str, ...],
    name: str,
    parent: str | None,
    seed: int,
) -> int:
    folders = tuple(Path(session.ledger.dataset(reference).uri) for reference in data)
    start = session.checkpoint(parent) if parent else None
    loaded = load_recipe(recipe)
    folder, manifest = train(session, loaded, data=folders, parent=start, name=name, seed=seed)
    return _say_trained(session, folder, manifest)


def prefer(
    session: Session, recipe: str, preferences: Path, *, parent: str, name: str, seed: int
) -> int:
    start = session.checkpoint(parent)
    # The parent's own conversations are mixed in, so that right answers stay right.
    before = tuple(
        Path(session.ledger.dataset(dataset.digest).uri)
        for dataset in read_manifest(start).datasets
    )
    loaded = load_recipe(recipe)
    folder, manifest = train(
        session, loaded, data=(preferences, *before), parent=start, name=name, seed=seed
    )
    return _say_trained(session, folder, manifest)


def _say_trained(session: Session, folder: Path, manifest: Manifest) -> int:
    session.say(f"checkpoint {manifest.name} {short(manifest.weights_digest)}: {folder}")
    session.say(f"next: hallmark gate {manifest.name}")
    return 0


def trained(session: Session, name: str) -> tuple[Path, Manifest] | None:
    """The finished checkpoint of that name, if there is one."""
    folder = session.home.checkpoints / name
    return (folder, read_manifest(folder)) if (folder / MANIFEST).exists() else None
