"""Where the data is that a checkpoint and its ancestors were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from commands.session import Session
from registry.dataset import DATASET
from registry.records import short

DROP = "or take contamination out of the policy's entry"


@dataclass(frozen=True)
class TrainingData:
    """Dataset folders by digest; ``unknown`` says why they are not all known."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    unknown: str | None = None


def training_data(session: Session, weights_digest: str) -> TrainingData:
    """Of a checkpoint in the ledger, with its parents as far back as they go.

    What a checkpoint was imported with counts as nothing: one without a parent that names
    no datasets may have been trained on anything.
    """
    line = session.ledger.ancestry(weights_digest)
    folders: dict[str, Path] = {}
    for row in line:
        manifest = session.ledger.manifest(row.digest)
        copied = manifest.stage == "import" and manifest.parent_digest and not manifest.is_adapter
        if not manifest.datasets and not copied:
            return _unknown(
                f"{manifest.name} came without its datasets (stage {manifest.stage}): "
                f"gate a checkpoint of `hallmark train`, {DROP}"
            )
        for dataset in manifest.datasets:
            if dataset.digest in folders:
                continue
            stored = [r for r in session.ledger.datasets() if r.digest == dataset.digest]
            if not stored or not (Path(stored[0].uri) / DATASET).is_file():
                place = f"at {stored[0].uri}" if stored else "in the ledger"
                return _unknown(
                    f"dataset {dataset.name} ({short(dataset.digest)}), which {manifest.name} "
                    f"was trained on, is not {place}: make it again with `hallmark data`, "
                    f"train on a dataset version, {DROP}"
                )
            folders[dataset.digest] = Path(stored[0].uri)
    if not line or line[-1].parent_digest is not None:
        missing = line[-1].parent_digest if line else weights_digest
        return _unknown(
            f"the ledger does not know its ancestor {short(missing or '')}: record it with "
            f"hallmark verify FOLDER, {DROP}"
        )
    return TrainingData(folders)


def _unknown(why: str) -> TrainingData:
    return TrainingData(unknown=f"the training data is not known: {why}")
