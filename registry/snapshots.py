"""Snapshots: earlier steps of a training, published beside the checkpoint it ended in.

Each is a checkpoint of its own, ``NAME-step-N`` beside ``NAME``, with the same lineage but
for its name and the tokens seen. They are no candidates and stand in no ledger; the gate
finds them here to see how much a value moves between the steps of one training.
"""

from __future__ import annotations

from pathlib import Path

from registry.checkpoint import MANIFEST, Lineage, Manifest, read_manifest


def snapshot_folder(checkpoint: Path, step: int) -> Path:
    """Where the snapshot after so many steps stands."""
    return checkpoint.with_name(f"{checkpoint.name}-step-{step}")


def snapshots_of(checkpoint: Path) -> list[tuple[Path, Manifest]]:
    """The snapshots of a checkpoint's own training, earliest first; folders of such a name
    from another training are left out. Raises CheckpointError where a manifest is damaged."""
    wanted = read_manifest(checkpoint)
    return [one for one in beside(checkpoint) if same_training(one[1], wanted)]


def beside(checkpoint: Path) -> list[tuple[Path, Manifest]]:
    """Every complete checkpoint that is called as a snapshot of this one, earliest first."""
    prefix = f"{checkpoint.name}-step-"
    found: dict[int, Path] = {}
    for folder in checkpoint.parent.iterdir() if checkpoint.parent.is_dir() else ():
        name, step = folder.name[: len(prefix)], folder.name[len(prefix) :]
        if name == prefix and step.isdecimal() and (folder / MANIFEST).is_file():
            found[int(step)] = folder
    return [(found[step], read_manifest(found[step])) for step in sorted(found)]


def same_training(one: Manifest | Lineage, other: Manifest | Lineage) -> bool:
    """Whether both come from one recipe, data, parent and seed."""
    parts = ("stage", "parent_digest", "recipe", "datasets", "seed")
    return all(getattr(one, part) == getattr(other, part) for part in parts)
