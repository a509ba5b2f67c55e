"""Opening a policy by name or path, with every check and audit and the ledger's datasets."""

from __future__ import annotations

from pathlib import Path

from audit.checks import AUDITS
from commands.session import Session
from eval.checks import CHECKS
from eval.gate import Policy, load_policy
from eval.policy import BUILT_IN, DATASET_PREFIX, policy_path

ALL_CHECKS = (*CHECKS, *AUDITS)


def shipped() -> list[str]:
    """Names of the policies that come with Hallmark."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def open_policy(session: Session, reference: str) -> Policy:
    """The policy of a file, or a shipped one by its name. Raises PolicyError."""
    return load_policy(
        policy_path(reference), ALL_CHECKS, lambda wanted: dataset_file(session, wanted)
    )


def dataset_file(session: Session, reference: str) -> Path:
    """``dataset:NAME/FILE`` as a path in that dataset's newest version.

    The path may not exist: measuring says so, and reading a policy does not need the data.
    """
    name, _, file = reference.removeprefix(DATASET_PREFIX).partition("/")
    if name not in {row.name for row in session.ledger.datasets()}:
        return session.home.datasets / name / f"{file}.jsonl"
    return Path(session.ledger.dataset(name).uri) / f"{file}.jsonl"
