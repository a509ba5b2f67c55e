"""Every answered request becomes a row of the ledger, without ever holding up an answer.

The hot path puts what it has into a bounded queue; a thread of its own builds the records, masks
personal data where conversations are kept, and writes in batches. A full queue, or a
ledger that will not take a batch, drops records and counts them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from monitoring.series import Series
from registry.conversation import Message
from registry.records import UserError
from registry.served import Excluded, Purpose, RequestRecord, user_digest
from serve import sse
from train.privacy import mask

log = logging.getLogger("hallmark.recorder")

BATCH_ROWS = 512
LINGER_SECONDS = 0.2  # a batch is one transaction, and costs little more with more rows
WRITE_ATTEMPTS = 3
RECENT_REQUESTS = 20_000
REMEMBERED_SECONDS = 60.0  # that records were lost
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class RequestStore(Protocol):
    """What the recorder needs of a ledger."""

    def record_requests(self, records: Sequence[RequestRecord], /) -> None: ...


@dataclass(slots=True)
class Served:
    """One finished request as the hot path leaves it; the recorder's thread does the rest.

    ``answer`` holds the raw bytes that the engine sent, None unless conversations are kept.
    """

    request_id: str
    experiment: str | None
    variant: str
    checkpoint: str
    unit_digest: str | None
    pinned: bool
    route: str
    status: int
    started_at: float
    ttft_ms: float | None
    duration_ms: float
    overhead_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    stream: bool = False
    messages: Any = None
    answer: bytes | None = None
    excluded: Excluded | None = None
    propensity: float | None = None
    segments: dict[str, str] | None = None
    shadow_of: str | None = None
    user: str | None = None
    purposes: tuple[Purpose, ...] | None = None


class Recorder:
    """Owns the queue and its one writing thread."""

    def __init__(self, store: RequestStore, series: Series, *, size: int) -> None:
        self._store = store
        self._series = series
        self._size = size
        self._waiting: deque[Served] = deque()
        self._ending = threading.Event()
        self._recent: OrderedDict[str, str] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._refused: str | None = None
        self._lost_at = -math.inf

    @property
    def trouble(self) -> str | None:
        """Why records are late or lost now; None while the ledger takes them."""
        if self._refused is not None:
            return f"the ledger takes no records ({self._refused}); {len(self._waiting)} wait"
        if time.monotonic() - self._lost_at < REMEMBERED_SECONDS:
            return f"records were lost in the last {REMEMBERED_SECONDS:g} s"
        return None

    def start(self) -> None:
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def put(self, served: Served) -> None:
        """Never waits: where the queue is full the record is dropped and counted."""
        self._recent[served.request_id] = served.variant
        if len(self._recent) > RECENT_REQUESTS:
            self._recent.popitem(last=False)
        if len(self._waiting) >= self._size:
            self._lose(1)
        else:
            self._waiting.append(served)

    def _lose(self, number: int) -> None:
        self._lost_at = time.monotonic()
        self._series.records_dropped.inc(number)

    def variant_of(self, request_id: str) -> str | None:
        """The variant of a recent request, None where it is not remembered."""
        return self._recent.get(request_id)

    def close(self, timeout_seconds: float = 20.0) -> None:
        """Write what is waiting, and end the thread."""
        if self._thread is None:
            return
        self._ending.set()
        self._thread.join(timeout_seconds)
        self._thread = None
        if lost := len(self._waiting):
            log.error("the ledger takes no records; %d are lost", lost)
            self._lose(lost)

    def _run(self) -> None:
        # The thread looks now and then: to be woken for each record would make it and the
        # hot path hand the interpreter's lock to and fro with every request.
        while not self._ending.wait(LINGER_SECONDS):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_ROWS, len(self._waiting)))]
            records = [built for one in batch if (built := self._build(one))]
            if records:
                self._write(records)

    def _build(self, served: Served) -> RequestRecord | None:
        try:
            return build(served)
        except Exception:  # edge of a supervised thread: one bad row costs one row
            log.exception("request %s could not be recorded", served.request_id)
            self._lose(1)
            return None

    def _write(self, records: Sequence[RequestRecord]) -> None:
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                self._store.record_requests(records)
                self._refused = None
                return
            except Exception as error:  # edge of a supervised thread: the ledger may recover
                self._refused = type(error).__name__
                if attempt == WRITE_ATTEMPTS or isinstance(error, UserError):
                    log.exception("%d records were not written to the ledger", len(records))
                    self._lose(len(records))
                    return
                time.sleep(0.2 * attempt)


def build(served: Served) -> RequestRecord:
    """The ledger's row; texts are masked here and nowhere written unmasked."""
    answer = None
    if served.answer is not None:
        if served.stream:
            answer = sse.streamed_text(served.answer)
        else:
            answer = sse.whole_text(sse.parse(served.answer))
    return RequestRecord(
        request_id=served.request_id,
        experiment=served.experiment,
        variant=served.variant,
        checkpoint=served.checkpoint,
        unit_digest=served.unit_digest,
        pinned=served.pinned,
        route=served.route,
        status=served.status,
        started_at=datetime.fromtimestamp(served.started_at, UTC),
        ttft_ms=served.ttft_ms,
        duration_ms=served.duration_ms,
        overhead_ms=served.overhead_ms,
        prompt_tokens=served.prompt_tokens,
        completion_tokens=served.completion_tokens,
        finish_reason=served.finish_reason,
        messages=masked_messages(served.messages),
        answer=None if answer is None else mask(answer).text,
        excluded=served.excluded,
        propensity=served.propensity,
        segments=served.segments,
        shadow_of=served.shadow_of,
        user_digest=None if served.user is None else user_digest(served.user),
        purposes=served.purposes,
    )


def masked_messages(messages: Any) -> tuple[Message, ...] | None:
    """A chat's text messages, masked; None where there are others, such as calls of tools."""
    if not isinstance(messages, list):
        return None
    kept = []
    for message in messages:
        role = ROLES.get(str(message.get("role"))) if isinstance(message, dict) else None
        text = _text(message.get("content")) if role else None
        if role is None or text is None:
            return None
        kept.append(Message(role=role, content=mask(text).text))  # type: ignore[arg-type]  # ROLES
    return tuple(kept)


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = []
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            return None
        parts.append(part["text"])
    return "\n".join(parts)
