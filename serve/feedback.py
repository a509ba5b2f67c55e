"""``POST /v1/feedback``: what people say of an answer, kept beside the answer's record.

    POST /v1/feedback            Authorization: Bearer KEY, or x-hallmark-link: TOKEN
    GET  /v1/feedback/metrics    what may be said (serve.feedback_kinds)

What is answered with 2xx is in the ledger before the status line is sent. A request id is not
looked up before: its record may still be on its way, and the join is made on reading. A
repeat, known by ``feedback_id`` in the body or by the header Idempotency-Key, changes nothing.
Source: draft-ietf-httpapi-idempotency-key-header-06, sections 2.6 and 2.7.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from registry.api_keys import ApiKey
from registry.served import COMPARING, MAX_TEXT_CHARS, FeedbackRecord, FeedbackSource
from serve.desk import Desk, DeskStore, person
from serve.errors import ApiError
from serve.feedback_kinds import MetricError, Metrics
from serve.links import Link, LinkError
from train.privacy import mask

UNKNOWN_VARIANT = "unknown"
LINK_HEADER = "x-hallmark-link"
IDEMPOTENCY_HEADER = "idempotency-key"
FIELDS = ("feedback_id", "request_id", "metric", "kind", "value", "label", "text", "ranking")
RETRY_SECONDS = 5
LEDGER_ERRORS = (SQLAlchemyError, OSError)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who speaks. ``link`` is None for who has a key; ``key`` tells keys' repeats apart."""

    user_digest: str | None = None
    link: Link | None = None
    idempotency_key: str | None = None
    key: str = ""

    @property
    def source(self) -> FeedbackSource:
        return "api" if self.link is None else "link"


@dataclass(frozen=True)
class Taken:
    """``recorded`` is False where this feedback was there already: nothing changed."""

    feedback_id: str
    recorded: bool
    variant: str | None


def parse_feedback(
    raw: bytes, *, metrics: Metrics, caller: Caller, now: datetime
) -> FeedbackRecord:
    """The record that a request's body describes, texts masked. Raises ApiError."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the feedback is no valid JSON: {error}; send a JSON object") from error
    if not isinstance(body, dict):
        raise _invalid("the feedback must be a JSON object with request_id, kind, value or text")
    if unknown := sorted(set(body) - set(FIELDS)):
        have = ", ".join(FIELDS)
        raise _invalid(f"{unknown[0][:64]}: Extra inputs are not permitted; have {have}")
    try:
        fields = metrics.completed(body)
        _arrange(fields)
        if caller.link is not None:
            _restrict(fields, caller.link)
        fields["feedback_id"] = _feedback_id(fields, caller)
        record = FeedbackRecord.model_validate(
            {
                **fields,
                "created_at": now,
                "user_digest": caller.user_digest,
                "source": caller.source,
            }
        )
        if record.metric is not None:
            metrics.named(record.metric).check(record)
    except MetricError as error:
        raise _invalid(str(error), "metric") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "feedback"
        message = first["msg"].removeprefix("Value error, ")
        raise _invalid(f"{place}: {message}", place if first["loc"] else None) from error
    return record


def _arrange(fields: dict[str, Any]) -> None:
    """Texts masked; a ranking of bare ids in groups of one, and its first as request_id."""
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = _storable(value)
    text = fields.get("text")
    if isinstance(text, str) and len(text) <= MAX_TEXT_CHARS:  # a longer one is refused as it is
        fields["text"] = mask(text).text
    ranking = fields.get("ranking")
    if isinstance(ranking, list):
        groups = [one if isinstance(one, list) else [one] for one in ranking]
        groups = [[_storable(i) if isinstance(i, str) else i for i in group] for group in groups]
        fields["ranking"] = groups
        if groups and groups[0]:
            fields.setdefault("request_id", groups[0][0])


def _storable(text: str) -> str:
    """As the ledger keeps it (registry.tables.Text), so that a repeat is known as one."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")


def _restrict(fields: dict[str, Any], link: Link) -> None:
    """A link speaks of its own request, and compares it with no other."""
    if fields.setdefault("request_id", link.request_id) != link.request_id:
        raise ApiError(403, "this link is for another answer", "wrong_link", "request_id")
    if fields.get("kind") in COMPARING:
        raise ApiError(403, "a link cannot compare answers; use an API key", "wrong_link", "kind")


def _feedback_id(fields: dict[str, Any], caller: Caller) -> Any:
    """The client's own; else made of what identifies a repeat; else random.

    A link says one thing of each metric, whoever holds it and however often.
    """
    if caller.link is not None:
        return "link-" + _digest(caller.link.digest, str(fields.get("metric")))
    if caller.idempotency_key is not None:
        made = "idem-" + _digest(caller.key, caller.idempotency_key)
        if fields.get("feedback_id", made) != made:
            raise _invalid("send feedback_id or Idempotency-Key, not both", "feedback_id")
        return made
    return fields.get("feedback_id", "fb-" + uuid.uuid4().hex)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:48]


def _invalid(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, message, "invalid_feedback", param)


def take(raw: bytes, desk: Desk, caller: Caller, *, recent_variant: str | None = None) -> Taken:
    """Store one piece of feedback; once this returns, it is on disk.

    ``recent_variant`` labels the count where the request's record has not arrived yet.
    Raises ApiError: 400 where it makes no sense, 422 where its id was used for something
    else, 503 where the ledger did not take it.
    """
    record = parse_feedback(raw, metrics=desk.metrics, caller=caller, now=datetime.now(UTC))
    try:
        recorded = desk.store.record_feedback(record)
        if not recorded:
            _same_as_stored(record, desk.store, caller)
    except LEDGER_ERRORS as error:
        raise ApiError(
            503,
            "the feedback was not stored: the ledger does not answer; send it again with the "
            "same feedback_id or Idempotency-Key",
            "not_stored",
            retry_after_seconds=RETRY_SECONDS,
        ) from error
    variant = recent_variant or _variant_of(record, desk.store)
    if recorded:
        desk.series.feedback.labels(
            variant=variant or UNKNOWN_VARIANT, kind=record.kind, sentiment=sentiment(record)
        ).inc()
    return Taken(record.feedback_id, recorded, variant)


def _same_as_stored(record: FeedbackRecord, store: DeskStore, caller: Caller) -> None:
    stored = store.feedback_by_id(record.feedback_id)
    if stored is None or stored.model_copy(update={"created_at": record.created_at}) == record:
        return
    if caller.link is not None:
        raise ApiError(409, f"this link gave its {record.metric} before", "already_given")
    raise ApiError(
        422,
        "this feedback_id or Idempotency-Key was used for other feedback; the first one stays",
        "idempotency_key_reused",
    )


def _variant_of(record: FeedbackRecord, store: DeskStore) -> str | None:
    try:
        request = store.request(record.request_id)
    except LEDGER_ERRORS:  # the feedback is stored, and that is what the client must hear
        return None
    return request.variant if request else None


def sentiment(record: FeedbackRecord) -> str:
    """A label of series.FEEDBACK_LABELS: an edit means that the answer would not do."""
    if record.kind == "edit":
        return "negative"
    if record.kind not in ("thumb", "rating") or record.value is None:
        return "neutral"
    if record.kind == "thumb":
        return "positive" if record.value > 0 else "negative"
    if record.value >= 4:
        return "positive"
    return "negative" if record.value <= 2 else "neutral"


def link_of(request: Request, desk: Desk) -> Link | None:
    """The link that a request came by, None without one. Raises ApiError 401."""
    token = request.headers.get(LINK_HEADER)
    if token is None:
        return None
    try:
        return desk.links().open(token, now=datetime.now(UTC))
    except LinkError as error:
        raise ApiError(401, str(error), "invalid_link", reason="unauthorized") from error


def caller_of(request: Request, key: ApiKey) -> Caller:
    """Who speaks by a key. Raises ApiError 400."""
    repeat = request.headers.get(IDEMPOTENCY_HEADER)
    if repeat is not None and not 1 <= len(repeat) <= 255:
        raise _invalid("an Idempotency-Key has 1 to 255 characters", IDEMPOTENCY_HEADER)
    return Caller(user_digest=person(request), idempotency_key=repeat, key=key.key_id)


def routes(desk: Desk) -> APIRouter:
    router = APIRouter()

    async def taken(request: Request, caller: Caller) -> Taken:
        raw = await desk.body(request)
        known = desk.variant_of(request_id_in(raw))
        return await asyncio.to_thread(take, raw, desk, caller, recent_variant=known)

    @router.post("/v1/feedback")
    async def take_feedback(request: Request) -> JSONResponse:
        link = link_of(request, desk)  # before a key: it opens less
        if link is not None:
            said = await taken(request, Caller(link=link))
        else:
            async with desk.counted(request) as key:
                said = await taken(request, caller_of(request, key))
        body: dict[str, Any] = {
            "object": "feedback",
            "feedback_id": said.feedback_id,
            "recorded": said.recorded,
        }
        if link is None:  # a link's holder learns nothing of who answered
            body["variant"] = said.variant
            body["checkpoint"] = desk.checkpoint_of(said.variant or "")
        return JSONResponse(body, 201 if said.recorded else 200)

    @router.get("/v1/feedback/metrics")
    async def metrics(request: Request) -> JSONResponse:
        desk.authorize(request)
        return JSONResponse({"object": "list", "data": [one.described for one in desk.metrics]})

    return router


def request_id_in(raw: bytes) -> str:
    """The request id that feedback is on, "" where there is none to be read."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return ""
    value = body.get("request_id") if isinstance(body, dict) else None
    return value if isinstance(value, str) else ""
