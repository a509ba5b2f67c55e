"""Opening a policy by name or path, with every check and audit and the ledger's datasets."""

from __future__ import annotations

from pathlib import Path

import eval.checks
from audit.checks import AUDITS
from commands.session import Session
from eval.gate import Policy, load_policy
from registry.records import UserError

POLICIES = Path(eval.checks.__file__).parent / "policies"
SHIPPED = ("support", "real")
ALL_CHECKS = (*eval.checks.CHECKS, *AUDITS)


def open_policy(session: Session, reference: str) -> Policy:
    """The policy of a file, or a shipped one by its name. Raises UserError and PolicyError."""
    path = Path(reference)
    if not path.suffix and not path.exists():
        path = POLICIES / f"{reference}.yaml"
    if not path.is_file():
        raise UserError(
            f"no policy {reference!r}: give a YAML file, or one of {', '.join(SHIPPED)}"
        )
    return load_policy(path, ALL_CHECKS, lambda ref: resolve_dataset(session, ref))


def resolve_dataset(session: Session, reference: str) -> Path:
    """``NAME/FILE`` of a policy's ``dataset:NAME/FILE`` as a path in the newest version.

    The path may not exist: measuring says so, loading a policy does not need the data.
    """
    name, _, file = reference.partition("/")
    known = {row.name for row in session.ledger.datasets()}
    if name not in known:
        return session.home.datasets / name / f"{file}.jsonl"
    return Path(session.ledger.dataset(name).uri) / f"{file}.jsonl"
