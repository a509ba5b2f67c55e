"""A finding for each policy entry, and one verdict over all of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from registry.records import Record, digest_of


class Status(StrEnum):
    """What the gate says. "Not significant" is never PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


EXIT_CODES = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 2, Status.INVALID: 3}
USAGE_EXIT_CODE = 4

Tier = Literal["required", "advisory", "watch"]


def absent(value: Any) -> bool:
    """Leaves a field out of the JSON, so that records without it keep their digests."""
    return value is None


class CleanPart(Record):
    """An entry without the items that the candidate was trained on.

    ``leaked`` items were taken out and ``n`` are left, ``max_share`` is what the policy
    allows. Numbers as in ``Finding``; [``low``, ``high``] is the interval of ``estimate``
    where there is a baseline, else of ``candidate``. None where no scored item is left.
    """

    leaked: int
    n: int
    max_share: float
    candidate: float | None = None
    baseline: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


class NoiseFloor(Record):
    """How much an entry's value moves from one snapshot of a training to the next.

    ``values`` in the order of steps, the candidate's own last; ``sd`` is of one value and
    ``floor`` of the difference of two, in the check's unit (``eval.noise``).
    """

    values: tuple[float, ...]
    sd: float
    floor: float


class GroupContrast(Record):
    """One group's mean difference from its reference over ``n`` matched questions, in the
    check's unit, signed as measured (group minus reference).

    [``low``, ``high``] is its interval, open where None. PASS where it lies within the limit
    on both sides, FAIL where it lies beyond after Holm over the groups, else INCONCLUSIVE;
    ``note`` says where there are too few questions to say.
    """

    group: str
    n: int
    unscored: int
    estimate: float | None
    low: float | None
    high: float | None
    status: Status
    note: str | None = None


class Finding(Record):
    """One policy entry judged. Numbers are in the check's unit; None means not computed.

    ``estimate`` is candidate minus baseline, signed so that higher is better, where
    there is a baseline, with its interval [``low``, ``high``] and ``margin`` >= 0.
    ``limit_low``/``limit_high`` is the interval of the candidate's own value, judged
    against ``limit``. ``clean`` is there where the policy asks for contamination, ``noise``
    where snapshots of the candidate's training were measured. Of a check of contrasts the
    numbers are the size of the furthest group's, and ``contrasts`` has all groups.
    """

    entry: str
    check: str
    tier: Tier
    status: Status
    reason: str
    unit: str
    higher_is_better: bool
    n: int
    unscored: int
    candidate: float | None = None
    baseline: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    limit: float | None = None
    limit_low: float | None = None
    limit_high: float | None = None
    method: str = ""
    clean: CleanPart | None = Field(default=None, exclude_if=absent)
    noise: NoiseFloor | None = Field(default=None, exclude_if=absent)
    contrasts: tuple[GroupContrast, ...] | None = Field(default=None, exclude_if=absent)

    @property
    def label(self) -> str:
        """What people read: the status, or "not judged" where the rule had nothing to be held
        against, neither a limit nor a baseline for its margin."""
        unjudged = self.limit is None and (self.margin is None or self.baseline is None)
        return "not judged" if unjudged and self.status is Status.INCONCLUSIVE else self.status

    @property
    def as_reason(self) -> str:
        """How a verdict that this finding keeps from PASS gives it as a reason."""
        return f"{self.entry}: {self.status}: {self.reason}"


class Verdict(Record):
    """All findings of one policy on one candidate, and what they come to."""

    schema_version: Literal[1] = 1
    status: Status
    candidate_digest: str
    baseline_digest: str | None
    against: str
    policy_name: str
    policy_digest: str
    evidence_digests: dict[str, str]
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...] = ()
    created_at: datetime

    @property
    def digest(self) -> str:
        return digest_of(self)

    @property
    def of_no_entry(self) -> tuple[str, ...]:
        """The reasons that are no single finding's: why nothing could be judged at all."""
        of_entries = {finding.as_reason for finding in self.findings}
        return tuple(reason for reason in self.reasons if reason not in of_entries)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]
