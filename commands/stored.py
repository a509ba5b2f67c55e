"""Evidence that is there already: asked for where nothing may be measured."""

from __future__ import annotations

from pathlib import Path

from commands.policies import ALL_CHECKS
from commands.session import Session
from eval.gate import Policy
from eval.measure import collect
from eval.resume import Pool
from registry.evidence import Evidence, EvidenceStore


class _NotMeasured(Exception):
    """Something is missing that only a loaded checkpoint could give."""


def stored_evidence(session: Session, policy: Policy, folder: Path) -> dict[str, Evidence] | None:
    """All of the policy's evidence on the checkpoint there, or None where some is missing."""

    def refuse(folder: Path) -> Pool:
        raise _NotMeasured(folder)

    store = EvidenceStore(session.home.evidence)
    try:
        return collect(policy, ALL_CHECKS, folder, store, opened_by=refuse)
    except _NotMeasured:
        return None
