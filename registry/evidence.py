"""Per-item results of one check on one checkpoint, and the store that keeps them.

Evidence is cached under the weights digest and the configuration digest, so a
champion is never measured twice and no cache can serve another model's answers.
It does not know what a good value is: that is the policy's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from registry.records import Record, UserError, canonical_json, digest_of, short, write_atomically


class EvidenceError(UserError):
    """A stored evidence file is damaged or does not match its digest."""


class Item(Record):
    """One measured item. Exactly one of ``value`` and ``unscored`` is set.

    ``value`` is in the check's unit (0.0 or 1.0 for right and wrong; for bits per
    byte the item's bits, with ``weight`` its bytes). ``cluster`` names what items
    share (a passage, a template, a document); ``group`` the subgroup that a table
    by group splits on. ``answer`` is what the model said, where it said something.
    """

    key: str
    content_hash: str
    value: float | None = None
    unscored: str | None = None
    weight: float | None = None
    cluster: str | None = None
    group: str | None = None
    answer: str | None = None

    @model_validator(mode="after")
    def _scored_or_not(self) -> Item:
        if (self.value is None) == (self.unscored is None):
            raise ValueError(f"item {self.key!r}: set exactly one of value and unscored")
        return self


class ModelFacts(Record):
    """What must agree on both sides for two measurements to be comparable, and whose they are."""

    weights_digest: str
    backend: str
    dtype: str
    context_length: int
    chat_template_digest: str


class Evidence(Record):
    """All items of one check under one configuration on one checkpoint."""

    schema_version: Literal[1] = 1
    check: str
    config: dict[str, Any]
    config_digest: str
    facts: ModelFacts
    items: tuple[Item, ...]
    summary: dict[str, float | None] = Field(default_factory=dict)
    tables: dict[str, Any] = Field(default_factory=dict)
    seconds: float
    created_at: datetime

    @property
    def digest(self) -> str:
        """Content digest without the clock: the same measurement gives the same digest."""
        body = self.model_dump(mode="json", exclude={"seconds", "created_at"})
        return digest_of(body)


def config_digest(check: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Digest of a check's name, its configuration, and the digests of the files it reads."""
    return digest_of({"check": check, "config": dict(config), "inputs": dict(inputs)})


class EvidenceStore:
    """Evidence files below one folder: ``<weights>/<check>-<config>.json``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, check: str, weights_digest: str, config_digest: str) -> Path:
        return self.root / short(weights_digest) / f"{check}-{short(config_digest)}.json"

    def journal(self, weights_digest: str) -> Path:
        """Where a measurement in progress is written down."""
        return self.root / short(weights_digest) / "journal.jsonl"

    def load(self, check: str, weights_digest: str, config_digest: str) -> Evidence | None:
        """The stored evidence, None where there is none; raises EvidenceError where damaged."""
        import json

        path = self.path(check, weights_digest, config_digest)
        if not path.exists():
            return None
        advice = f"delete {path} to measure again"
        try:
            stored = json.loads(path.read_bytes())
            evidence = Evidence.model_validate(stored["evidence"])
        except (ValueError, KeyError, TypeError) as error:
            raise EvidenceError(f"evidence {path} cannot be read ({error}); {advice}") from error
        if evidence.digest != stored.get("digest"):
            raise EvidenceError(f"evidence {path} does not match its digest; {advice}")
        if (
            evidence.facts.weights_digest != weights_digest
            or evidence.config_digest != config_digest
        ):
            raise EvidenceError(f"evidence {path} is of another checkpoint or check; {advice}")
        return evidence

    def save(self, evidence: Evidence) -> Path:
        path = self.path(evidence.check, evidence.facts.weights_digest, evidence.config_digest)
        body = {"digest": evidence.digest, "evidence": evidence.model_dump(mode="json")}
        write_atomically(path, canonical_json(body))
        return path


def now() -> datetime:
    return datetime.now(UTC)
