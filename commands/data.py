"""`hallmark data`: conversations in, dataset versions out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from commands.session import Session, print_json, table
from registry.conversation import Conversation
from registry.dataset import DatasetManifest, publish_dataset, write_jsonl
from registry.records import short
from train import clean, sources, synth
from train.privacy import mask
from train.synth_handbook import handbook

Files = Mapping[str, Iterable[BaseModel | dict[str, Any]]]


def publish(
    session: Session, files: Files, *, name: str, licence: str, source: str, recipe: dict[str, Any]
) -> tuple[Path, DatasetManifest]:
    """Write JSONL files and publish them as one dataset version in the ledger."""
    session.home.datasets.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=session.home.datasets, prefix=".staging-") as staging:
        folder = Path(staging)
        for file, rows in files.items():
            write_jsonl(folder / f"{file}.jsonl", rows)
        path, manifest = publish_dataset(
            folder,
            session.home.datasets,
            name=name,
            licence=licence,
            source=source,
            recipe=recipe,
        )
    session.ledger.record_dataset(manifest, str(path))
    return path, manifest


def prepared(
    session: Session, conversations: Iterable[Conversation], *, seed: int
) -> dict[str, list[Conversation]]:
    """Cleaned, masked and split by conversation: train, validation and test."""
    with session.progress("cleaning and masking", "conversations") as progress:
        rows = list(conversations)
        cleaned = clean.clean(rows, progress=progress)
    for line in cleaned.report.lines():
        session.say(f"  {line}")
    return clean.split(cleaned.conversations, seed=seed)


@dataclass(frozen=True)
class Customers:
    """Whether generated customers say who they are, and whom the desk turns away."""

    introduced: bool = False
    declines: str | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        """What of it goes into a dataset's recipe: nothing where they stay unnamed."""
        if not self.introduced and self.declines is None:
            return {}
        return {"introduced": True, "declines": self.declines}


NOBODY_NAMED = Customers()


def synth_files(
    session: Session,
    *,
    conversations: int,
    questions: int,
    seed: int,
    who: Customers = NOBODY_NAMED,
) -> dict[str, list[Any]]:
    """All files of the generated support dataset."""
    rows = synth.generate(conversations, seed=seed)
    if who.recipe:
        rows = synth.introduced(rows, declines=who.declines)
    splits = prepared(session, rows, seed=seed)
    return {
        **splits,
        "handbook": handbook(conversations // 2, seed=seed + 3),
        "questions": [clean.masked(row) for row in synth.questions(questions, seed=seed + 1)],
        "choices": [
            {**row, "context": mask(row["context"]).text}
            for row in synth.choices(questions, seed=seed + 2)
        ],
    }


def synth_dataset(
    session: Session,
    *,
    name: str,
    conversations: int,
    questions: int,
    seed: int,
    who: Customers = NOBODY_NAMED,
) -> tuple[Path, DatasetManifest]:
    files = synth_files(
        session, conversations=conversations, questions=questions, seed=seed, who=who
    )
    recipe = {
        "generator": "train.synth",
        "conversations": conversations,
        "questions": questions,
        "seed": seed,
        **who.recipe,
    }
    return publish(
        session, files, name=name, licence="CC0-1.0", source="train.synth", recipe=recipe
    )


def _say_published(session: Session, path: Path, manifest: DatasetManifest) -> None:
    rows = ", ".join(f"{file} {entry.rows}" for file, entry in sorted(manifest.files.items()))
    session.say(f"dataset {manifest.name} {short(manifest.digest)}: {rows}")
    session.say(f"  {path}")


def synth_command(
    session: Session,
    *,
    name: str,
    conversations: int,
    questions: int,
    seed: int,
    who: Customers,
) -> int:
    path, manifest = synth_dataset(
        session, name=name, conversations=conversations, questions=questions, seed=seed, who=who
    )
    _say_published(session, path, manifest)
    return 0


def import_file(
    session: Session, path: Path, *, name: str, format: str, licence: str, seed: int
) -> int:
    splits = prepared(session, sources.read(path, format, licence=licence), seed=seed)
    recipe = {"format": format, "file": path.name, "seed": seed}
    folder, manifest = publish(
        session, splits, name=name, licence=licence, source=path.name, recipe=recipe
    )
    _say_published(session, folder, manifest)
    return 0


def listing(session: Session, *, json: bool) -> int:
    rows = session.ledger.datasets()
    if json:
        print_json([{"name": r.name, "digest": r.digest, "folder": r.uri} for r in rows])
        return 0
    columns = ("dataset", "digest", "folder")
    session.console.print(
        table("datasets", columns, [(r.name, short(r.digest), r.uri) for r in rows])
    )
    return 0
