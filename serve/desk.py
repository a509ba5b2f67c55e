"""What the routes around feedback share: the ledger, who may, and which metrics there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from monitoring.series import Series
from registry.api_keys import ApiKey
from registry.labels import Label, OpenTask
from registry.served import FeedbackRecord, RequestRecord, user_digest
from serve.feedback_kinds import Metrics
from serve.limits import read_body
from serve.links import Links

UNIT_HEADER = "x-hallmark-unit"


class DeskStore(Protocol):
    """What feedback, the arena and the labelling queue need of a ledger."""

    def record_feedback(self, record: FeedbackRecord, /) -> bool: ...

    def feedback_by_id(self, feedback_id: str, /) -> FeedbackRecord | None: ...

    def request(self, request_id: str, /) -> RequestRecord | None: ...

    def votes(self, metric: str, /) -> Iterator[FeedbackRecord]: ...

    def who_answered(self, request_ids: Sequence[str], /) -> Mapping[str, tuple[str, str]]: ...

    def next_label_task(self, labeller_digest: str, /) -> OpenTask | None: ...

    def num_label_tasks(self, labeller_digest: str, /) -> int: ...

    def is_label_task(self, request_id: str, /) -> bool: ...

    def record_label(self, label: Label, /) -> None: ...

    def labels(self) -> Iterator[Label]: ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Handed to each router of this room by ``serve.app``."""

    store: DeskStore
    series: Series
    metrics: Metrics
    links: Callable[[], Links]
    """Opened when the first link comes, so that a gateway without any needs no key."""
    authorize: Callable[[Request], ApiKey]
    """The request's key, good for its route. Raises ApiError 401 or 403."""
    counted: Callable[[Request], AbstractAsyncContextManager[ApiKey]]
    """The same, with the request counted against its key's limits; also 429."""
    variant_of: Callable[[str], str | None]
    """The variant of a recent request whose record may not have arrived."""
    checkpoint_of: Callable[[str], str | None]
    """A variant's weights digest."""
    max_body_bytes: int

    async def body(self, request: Request) -> bytes:
        return await read_body(request.scope, request.receive, self.max_body_bytes)


def person(request: Request) -> str | None:
    """The digest of who speaks, by the header that also names an experiment's unit."""
    unit = request.headers.get(UNIT_HEADER)
    return user_digest(unit) if unit else None
