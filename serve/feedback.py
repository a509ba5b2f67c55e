"""``POST /v1/feedback``: what people say of an answer, kept beside the answer's record.

A request id is not looked up before the feedback is taken: its record may still be on its
way to the ledger. The join with variant and checkpoint is made on reading.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from monitoring.series import Series
from registry.served import FeedbackRecord, RequestRecord
from serve.errors import ApiError
from train.privacy import mask

UNKNOWN_VARIANT = "unknown"


class FeedbackStore(Protocol):
    """What feedback needs of a ledger."""

    def record_feedback(self, record: FeedbackRecord, /) -> bool: ...

    def request(self, request_id: str, /) -> RequestRecord | None: ...


@dataclass(frozen=True)
class Taken:
    """``recorded`` is False where this feedback_id was there already: nothing changed."""

    feedback_id: str
    recorded: bool
    variant: str | None


def parse_feedback(raw: bytes, *, now: datetime) -> FeedbackRecord:
    """The record that a request's body describes, texts masked. Raises ApiError 400."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the feedback is no valid JSON: {error}; send a JSON object") from error
    if not isinstance(body, dict):
        raise _invalid("the feedback must be a JSON object with request_id, kind, value or text")
    fields = {**body, "created_at": now}
    fields.setdefault("feedback_id", "fb-" + uuid.uuid4().hex)
    if isinstance(fields.get("text"), str):
        fields["text"] = mask(fields["text"]).text
    try:
        return FeedbackRecord.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "feedback"
        message = first["msg"].removeprefix("Value error, ")
        raise _invalid(f"{place}: {message}", place if first["loc"] else None) from error


def _invalid(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, message, "invalid_feedback", param)


def take(
    raw: bytes, store: FeedbackStore, series: Series, *, recent_variant: str | None = None
) -> Taken:
    """Store one piece of feedback; once this returns, it is on disk.

    ``recent_variant`` labels the count where the request's record has not arrived yet.
    """
    record = parse_feedback(raw, now=datetime.now(UTC))
    recorded = store.record_feedback(record)
    variant = recent_variant
    if variant is None:
        request = store.request(record.request_id)
        variant = request.variant if request else None
    if recorded:
        series.feedback.labels(
            variant=variant or UNKNOWN_VARIANT, kind=record.kind, sentiment=sentiment(record)
        ).inc()
    return Taken(record.feedback_id, recorded, variant)


def sentiment(record: FeedbackRecord) -> str:
    """A label of series.FEEDBACK_LABELS: an edit means that the answer would not do."""
    if record.kind == "edit":
        return "negative"
    if record.kind == "comment" or record.value is None:
        return "neutral"
    if record.kind == "thumb":
        return "positive" if record.value > 0 else "negative"
    if record.value >= 4:
        return "positive"
    return "negative" if record.value <= 2 else "neutral"
