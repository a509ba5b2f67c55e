"""What the ledger answers with, where no record of the house fits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from registry.verdict import Verdict


@dataclass(frozen=True)
class CheckpointRow:
    digest: str
    name: str
    uri: str
    stage: str
    parent_digest: str | None
    created_at: datetime


@dataclass(frozen=True)
class DatasetRow:
    name: str
    digest: str
    uri: str
    licence: str
    source: str
    num_rows: int
    created_at: datetime


@dataclass(frozen=True)
class EvidenceRow:
    check: str
    weights_digest: str
    config_digest: str
    digest: str
    path: str
    created_at: datetime


@dataclass(frozen=True)
class VerdictRow:
    """``envelope_digest`` is None where no hallmark was made."""

    id: int
    verdict: Verdict
    envelope_digest: str | None


@dataclass(frozen=True)
class AliasChange:
    """One line of an alias's history: who pointed it where, when and why."""

    name: str
    digest: str
    kind: Literal["set", "rollback"]
    by: str
    reason: str
    at: datetime
