"""The noise floor of a candidate: its snapshots, measured when asked for or already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from commands.policies import ALL_CHECKS
from commands.session import Session
from commands.stored import stored_evidence
from eval.gate import Policy
from eval.measure import collect
from eval.noise import MIN_VALUES, noise_floors
from registry.evidence import Evidence, EvidenceStore
from registry.records import UserError
from registry.snapshots import snapshots_of
from registry.verdict import NoiseFloor


class NoSnapshots(UserError):
    """The noise was asked for, and the trainer kept too few snapshots."""


def floors(
    session: Session,
    policy: Policy,
    folder: Path,
    candidate: Mapping[str, Evidence],
    *,
    measured: bool,
) -> dict[str, NoiseFloor]:
    """By entry name. With ``measured`` every snapshot is measured, else only what is stored of
    all of them counts. Raises NoSnapshots where there are too few to measure."""
    found = snapshots_of(folder)
    if len(found) + 1 < MIN_VALUES:
        if not measured:
            return {}
        raise NoSnapshots(
            f"{folder.name} has {len(found)} snapshots beside it, and its noise needs "
            f"{MIN_VALUES - 1}: train with keep_last and keep_every_steps in the recipe, or gate "
            "without --noise"
        )
    store = EvidenceStore(session.home.evidence)
    sides: list[Mapping[str, Evidence]] = []
    for snapshot, manifest in found:
        if measured:
            with session.progress(f"measuring {manifest.name}", "items") as progress:
                sides.append(collect(policy, ALL_CHECKS, snapshot, store, progress=progress))
        elif not store.journal(manifest.weights_digest).parent.is_dir():
            return {}  # nothing of it was ever measured, so its files need not be hashed
        elif (known := stored_evidence(session, policy, snapshot)) is not None:
            sides.append(known)
        else:
            return {}
    return noise_floors(policy, sides, candidate)
