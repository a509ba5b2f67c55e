"""What serving records: one row per answered request, one per piece of feedback."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from registry.conversation import Message
from registry.records import Record


class RequestRecord(Record):
    """One request through the gateway. Times are milliseconds; texts are masked or None.

    ``messages`` and ``answer`` are None where conversations are not stored.
    ``pinned`` requests (evaluation traffic) belong to no experiment.
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


FeedbackKind = Literal["thumb", "rating", "edit", "comment"]


class FeedbackRecord(Record):
    """What a person said of one answer.

    thumb: ``value`` is 1 or -1. rating: ``value`` is 1 to 5. edit: ``text`` is the
    better answer. comment: ``text`` is free. ``feedback_id`` makes a repeat harmless.
    """

    feedback_id: str = Field(min_length=1, max_length=128)
    request_id: str = Field(min_length=1, max_length=128)
    kind: FeedbackKind
    value: float | None = None
    text: str | None = Field(default=None, max_length=16_384)
    created_at: datetime

    @model_validator(mode="after")
    def _fits_its_kind(self) -> FeedbackRecord:
        if self.kind == "thumb" and self.value not in (1, -1):
            raise ValueError("a thumb's value is 1 or -1")
        if self.kind == "rating" and self.value not in (1, 2, 3, 4, 5):
            raise ValueError("a rating's value is 1, 2, 3, 4 or 5")
        if self.kind in ("edit", "comment") and not (self.text or "").strip():
            raise ValueError(f"feedback of kind {self.kind} needs a text")
        return self


class AnswerWithFeedback(Record):
    """A request record joined with all feedback on it, oldest first."""

    request: RequestRecord
    feedback: tuple[FeedbackRecord, ...]
