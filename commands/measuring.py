"""Evidence for the gate's commands: where the model runs, first looks, training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from commands.policies import ALL_CHECKS
from commands.session import Session
from commands.training_data import training_data
from eval.contamination import Contamination, ContaminationStore, find, untraceable
from eval.early import EarlyLoss, look_early
from eval.gate import Policy
from eval.measure import OpenPool, collect, entry_digest, open_pool
from eval.policy import Entry
from eval.resume import Pool, ResumableRunner
from registry.checkpoint import read_manifest, verify
from registry.evidence import Evidence, EvidenceStore


@dataclass(frozen=True)
class How:
    """What a gate does besides measuring here to the end."""

    noise: bool = False
    """Measure the snapshots of the candidate's training too."""
    early_fail: bool = False
    """Stop as soon as a margin is clearly lost."""
    ray: str | None = None
    """Address of the Ray cluster that measures; None is this process."""

    def opener(self, session: Session) -> OpenPool:
        """Loads each checkpoint once, however often it is asked for."""

        @cache
        def opened(folder: Path) -> Pool:
            base = session.base_of(read_manifest(folder))
            if self.ray is None:
                return open_pool(folder, base)
            from eval.ray_pool import RayPool

            return RayPool(folder, self.ray, base=base)

        return opened


HERE = How()


def measure(
    session: Session, policy: Policy, folder: Path, title: str, opened_by: OpenPool = open_pool
) -> dict[str, Evidence]:
    """Evidence of every entry, from the store or measured now, and indexed in the ledger."""
    store = EvidenceStore(session.home.evidence)
    with session.progress(f"measuring {title}", "entries") as progress:
        evidence = collect(
            policy, ALL_CHECKS, folder, store, progress=progress, opened_by=opened_by
        )
    for one in evidence.values():
        path = store.path(one.check, one.facts.weights_digest, one.config_digest)
        session.ledger.index_evidence(one, str(path))
    return evidence


def contaminations(session: Session, policy: Policy, digest: str) -> dict[str, Contamination]:
    """What the policy asks of the checkpoint's training data, by entry name."""
    if not any(entry.rule.contamination for entry in policy.entries):
        return {}
    data = training_data(session, digest)
    if data.unknown is not None:
        return untraceable(policy.entries, data.unknown)
    store = ContaminationStore(session.home.evidence / "contamination")
    with session.progress("looking for items in training data", "bytes") as progress:
        return find(policy.entries, data.folders, store, progress)


def first_looks(
    session: Session,
    policy: Policy,
    folder: Path,
    baseline: Mapping[str, Evidence],
    opened_by: OpenPool,
) -> EarlyLoss | None:
    """Where the candidate has lost already, or None. What it answered stays in the journal."""
    store = EvidenceStore(session.home.evidence)
    digest = verify(folder).weights_digest

    def measured(entry: Entry) -> bool:
        return store.load(entry.check, digest, entry_digest(entry)[1]) is not None

    @cache
    def runner() -> ResumableRunner:
        return ResumableRunner(opened_by(folder), store.journal(digest))

    session.say("  looking for a loss that is clear already")
    return look_early(policy, runner, baseline, skip=measured)
