"""A recipe's data steps on dataset versions: each gives a version of its own in the ledger."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from audit.toxicity import Scorer, open_scorer, scorer_digest
from commands.session import Session
from registry.canaries import CANARIES
from registry.dataset import (
    DATASET,
    DatasetError,
    publish_dataset,
    read_dataset,
    read_jsonl,
    write_jsonl,
)
from registry.records import digest_of, short
from train.prepare import DataSteps, PreparedRow, prepare
from train.recipe import Recipe


def prepared(session: Session, folder: Path, recipe: Recipe, *, seed: int, plant: bool) -> Path:
    """The version of ``folder`` after the recipe's steps; the one of an earlier time is reused.

    Canaries only where ``plant``, so that of several datasets one has them. Other files
    are taken over as they are. Raises DatasetError.
    """
    steps = recipe.data
    if steps is None:
        return folder
    source = read_dataset(folder)
    if source.recipe.get("steps") == steps.model_dump(mode="json"):
        return folder  # it is such a version itself
    name = _learnt_from(folder, recipe)
    described = {
        "from": source.digest,
        "file": name,
        "steps": steps.model_dump(mode="json"),
        "planted": plant,
        "seed": seed,
        "scorer_digest": _digest_of_scorer(steps),
    }
    new_name = f"{source.name}-{digest_of(described)[7:15]}"
    for row in session.ledger.datasets():
        if row.name == new_name and (Path(row.uri) / DATASET).is_file():
            return Path(row.uri)
    rows = list(read_jsonl(folder / f"{name}.jsonl", PreparedRow))
    with session.progress("preparing rows", "texts") as progress:
        done = prepare(
            rows,
            steps if plant or steps.canaries is None else _without_canaries(steps),
            seed=seed,
            scorer=_scorer(steps),
            progress=progress,
        )
    if not done.rows:
        raise DatasetError(f"the data steps leave no row of {folder}; raise filter.threshold")
    with tempfile.TemporaryDirectory(dir=session.home.datasets, prefix=".staging-") as staging:
        for path in folder.glob("*.jsonl"):
            shutil.copyfile(path, Path(staging) / path.name)
        write_jsonl(Path(staging) / f"{name}.jsonl", (row.line() for row in done.rows))
        if done.canaries:
            write_jsonl(Path(staging) / f"{CANARIES}.jsonl", done.canaries)
        made, manifest = publish_dataset(
            Path(staging),
            session.home.datasets,
            name=new_name,
            licence=source.licence,
            source=source.source,
            recipe=described | {"counts": done.counts},
        )
    session.ledger.record_dataset(manifest, made)
    session.ledger.record_canaries(manifest.digest, done.canaries)
    counts = done.counts
    session.say(
        f"  {counts['read']:,} rows of {source.name}: {counts['toxic']:,} toxic ones left out, "
        f"{counts['swapped']:,} counterfactual ones and {counts['planted']:,} canaries added"
    )
    session.say(f"  dataset {manifest.name} {short(manifest.digest)}: {made}")
    return made


def _learnt_from(folder: Path, recipe: Recipe) -> str:
    """The file that a training of this stage reads, as train.stages has it."""
    if recipe.stage == "pretrain" and (folder / "handbook.jsonl").is_file():
        return "handbook"
    if not (folder / "train.jsonl").is_file():
        raise DatasetError(
            f"{folder} has no train.jsonl for the recipe's data steps; give a dataset that has, "
            "or leave data out of the recipe"
        )
    return "train"


def _without_canaries(steps: DataSteps) -> DataSteps:
    return steps.model_construct(filter=steps.filter, swap=steps.swap, canaries=None)


def _scorer(steps: DataSteps) -> Scorer | None:
    step = steps.filter
    return None if step is None else open_scorer(step.scorer, step.scorer_path)


def _digest_of_scorer(steps: DataSteps) -> str | None:
    step = steps.filter
    return None if step is None else scorer_digest(step.scorer, step.scorer_path)
