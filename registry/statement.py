"""What a hallmark says: an in-toto Statement v1 with a test-result predicate.

Sources: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and
https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from registry.checkpoint import MANIFEST, Manifest
from registry.records import canonical_json
from registry.verdict import Status, Verdict

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://in-toto.io/attestation/test-result/v0.1"
POLICY_PREFIX = "policy/"
EVIDENCE_PREFIX = "evidence/"


class InToto(BaseModel):
    """A frozen record that ignores unknown fields, as in-toto's parsing rules ask."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class Descriptor(InToto):
    """in-toto's ResourceDescriptor: a thing by name and digest."""

    name: str
    digest: dict[str, str]
    annotations: dict[str, Any] = Field(default_factory=dict)


class Predicate(InToto):
    """``failed_tests`` are required entries that did not pass: none, in a hallmark.

    Entries of the other tiers that did not pass are ``warned_tests``.
    """

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: tuple[Descriptor, ...]
    passed_tests: tuple[str, ...] = ()
    warned_tests: tuple[str, ...] = ()
    failed_tests: tuple[str, ...] = ()


class Statement(InToto):
    """Subjects are the checkpoint's files and its manifest, each by sha256."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Descriptor, ...]
    predicate_type: Literal["https://in-toto.io/attestation/test-result/v0.1"]
    predicate: Predicate

    @property
    def subjects(self) -> dict[str, str]:
        """Bare hex sha256 by file name."""
        return {subject.name: subject.digest.get("sha256", "") for subject in self.subject}

    @property
    def policies(self) -> dict[str, str]:
        """``sha256:...`` of each policy by its name; a hallmark has exactly one."""
        return {
            item.name.removeprefix(POLICY_PREFIX): "sha256:" + item.digest.get("sha256", "")
            for item in self.predicate.configuration
            if item.name.startswith(POLICY_PREFIX)
        }


def subjects_of(manifest: Manifest) -> dict[str, str]:
    """Bare hex sha256 of every file that a hallmark covers: the manifest's, and the manifest."""
    files = {name: entry.sha256 for name, entry in manifest.files.items()}
    return {**files, MANIFEST: hashlib.sha256(canonical_json(manifest)).hexdigest()}


def statement_of(verdict: Verdict, manifest: Manifest) -> Statement:
    """The statement that a verdict makes about a manifest's files, whatever the verdict is."""
    subjects = subjects_of(manifest)
    configuration = (
        _descriptor(POLICY_PREFIX + verdict.policy_name, verdict.policy_digest),
        *(
            _descriptor(EVIDENCE_PREFIX + entry, digest)
            for entry, digest in sorted(verdict.evidence_digests.items())
        ),
        _descriptor(
            "verdict",
            verdict.digest,
            against=verdict.against,
            baselineDigest=verdict.baseline_digest,
            judgedAt=verdict.created_at.isoformat(),
        ),
    )
    not_passed = [finding for finding in verdict.findings if finding.status is not Status.PASS]
    return Statement(
        _type=STATEMENT_TYPE,
        subject=tuple(
            Descriptor(name=name, digest={"sha256": subjects[name]}) for name in sorted(subjects)
        ),
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(
            result="PASSED" if verdict.status is Status.PASS else "FAILED",
            configuration=configuration,
            passed_tests=tuple(f.entry for f in verdict.findings if f.status is Status.PASS),
            warned_tests=tuple(f.entry for f in not_passed if f.tier != "required"),
            failed_tests=tuple(f.entry for f in not_passed if f.tier == "required"),
        ),
    )


def _descriptor(name: str, digest: str, **annotations: str | None) -> Descriptor:
    sha256 = digest.removeprefix("sha256:")
    return Descriptor(name=name, digest={"sha256": sha256}, annotations=annotations)
