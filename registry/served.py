"""What serving records: one row per answered request, one per piece of feedback."""

from __future__ import annotations

import hashlib
from datetime import datetime
from itertools import chain
from typing import Literal

from pydantic import Field, model_validator

from registry.conversation import Message
from registry.records import Record

# What a conversation may be used for: to train on, to evaluate with, to be read by labellers.
Purpose = Literal["train", "evaluate", "review"]
PURPOSES: tuple[Purpose, ...] = ("train", "evaluate", "review")

# Why analysis leaves a request out: it named no unit; its unit is held out, not yet in the
# ramp, or its own variant was stopped; another variant stood in; it is a shadow's copy.
Excluded = Literal["no-unit", "holdout", "ramp", "stopped", "crossed", "shadow"]


def user_digest(user: str) -> str:
    """The name under which a person is kept, and found again by who knows their id.

    A pseudonym, not anonymity: who holds the ledger can try ids out.
    """
    return "sha256:" + hashlib.sha256(b"hallmark user:" + user.encode(errors="replace")).hexdigest()


class RequestRecord(Record):
    """One request through the gateway. Times are milliseconds; texts are masked or None.

    ``messages`` and ``answer`` are None where conversations are not stored.
    ``pinned`` requests (evaluation traffic) belong to no experiment. ``propensity`` is the
    chance in (0, 1] with which the unit got this variant, None outside an experiment.
    ``segments`` are the experiment's declared ones. ``shadow_of`` is the request that a
    shadow's copy was made of.
    ``purposes`` is what the person agreed to: None where nobody said, empty where they refused.
    """

    request_id: str
    experiment: str | None
    variant: str
    checkpoint: str
    unit_digest: str | None
    pinned: bool
    route: str
    status: int
    started_at: datetime
    ttft_ms: float | None
    duration_ms: float
    overhead_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    messages: tuple[Message, ...] | None = None
    answer: str | None = None
    excluded: Excluded | None = None
    propensity: float | None = None
    segments: dict[str, str] | None = None
    shadow_of: str | None = None
    user_digest: str | None = None
    purposes: tuple[Purpose, ...] | None = None

    def may(self, purpose: Purpose) -> bool:
        """Whether the conversation may be used so: yes, unless the person left that out."""
        return self.purposes is None or purpose in self.purposes


FeedbackKind = Literal["thumb", "rating", "edit", "comment", "score", "category", "vote", "ranking"]
FeedbackSource = Literal["api", "link"]
LABELLED = ("category", "vote")  # kinds that may have a label
COMPARING = ("vote", "ranking")  # kinds that speak of several answers
MAX_RANKED = 32
MAX_TEXT_CHARS = 16_384


class FeedbackRecord(Record):
    """What a person said of one answer, or of several beside each other.

    thumb: ``value`` is 1 or -1. rating: ``value`` is 1 to 5. score: ``value`` is a number
    within its metric's bounds. category: ``label`` is one of its metric's. edit: ``text`` is
    the better answer. comment: ``text`` is free, as beside every other kind. vote: ``ranking``
    holds two request ids, the better one first, or both in one group for a tie, which
    ``label`` may explain. ranking: the same for up to 32 ids. ``request_id`` is the first.

    ``feedback_id`` makes a repeat harmless. ``metric`` None is the metric named like the kind.
    """

    feedback_id: str = Field(min_length=1, max_length=128)
    request_id: str = Field(min_length=1, max_length=128)
    kind: FeedbackKind
    value: float | None = None
    text: str | None = Field(default=None, max_length=MAX_TEXT_CHARS)
    created_at: datetime
    metric: str | None = Field(default=None, max_length=64)
    label: str | None = Field(default=None, max_length=64)
    ranking: tuple[tuple[str, ...], ...] | None = None
    user_digest: str | None = None
    source: FeedbackSource | None = None

    @property
    def compared(self) -> tuple[str, ...]:
        """The request ids that it speaks of."""
        return tuple(chain.from_iterable(self.ranking or ((self.request_id,),)))

    @model_validator(mode="after")
    def _fits_its_kind(self) -> FeedbackRecord:
        if self.kind == "thumb" and self.value not in (1, -1):
            raise ValueError("a thumb's value is 1 or -1")
        if self.kind == "rating" and self.value not in (1, 2, 3, 4, 5):
            raise ValueError("a rating's value is 1, 2, 3, 4 or 5")
        if self.kind == "score" and self.value is None:
            raise ValueError("a score needs a value, a number")
        if self.kind == "category" and self.label is None:
            raise ValueError("feedback of kind category needs a label")
        if self.label is not None and self.kind not in LABELLED:
            raise ValueError(f"feedback of kind {self.kind} has no label")
        if self.kind in ("edit", "comment") and not (self.text or "").strip():
            raise ValueError(f"feedback of kind {self.kind} needs a text")
        if self.kind in COMPARING:
            self._compares()
        elif self.ranking is not None:
            raise ValueError(f"feedback of kind {self.kind} has no ranking")
        return self

    def _compares(self) -> None:
        ids = () if self.ranking is None else self.compared
        if not 2 <= len(ids) <= MAX_RANKED or (self.kind == "vote" and len(ids) != 2):
            number = "two" if self.kind == "vote" else f"2 to {MAX_RANKED}"
            raise ValueError(f"a {self.kind} needs a ranking of {number} request ids")
        if len(set(ids)) != len(ids):
            raise ValueError(f"a {self.kind}'s request ids must differ")
        if any(not 1 <= len(one) <= 128 for one in ids) or not all(self.ranking or ()):
            raise ValueError(f"a {self.kind}'s request ids have 1 to 128 characters")
        if self.request_id != ids[0]:
            raise ValueError(f"a {self.kind}'s request_id is the first of its ranking")


class AnswerWithFeedback(Record):
    """A request record joined with all feedback on it, oldest first."""

    request: RequestRecord
    feedback: tuple[FeedbackRecord, ...]
