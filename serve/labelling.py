"""The labelling queue: which answers people should look at first, and how far they agree.

    GET  /v1/labelling/next         the next answer for this person, and how many wait
    POST /v1/labelling/labels       {"request_id": ..., "label": "good", "better": "..."}
    GET  /v1/labelling/agreement    Krippendorff's alpha over answers with several labels

A person is told apart by the header x-hallmark-unit and kept by its digest.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from registry.labels import LABELS, Label, LabelTask
from registry.records import Record
from registry.served import MAX_TEXT_CHARS, AnswerWithFeedback
from serve.desk import UNIT_HEADER, Desk, person
from serve.errors import ApiError
from serve.feedback import LEDGER_ERRORS, RETRY_SECONDS
from train.privacy import mask

CONTESTED, DISLIKED, CUT_OFF, BORDERLINE = 1.0, 0.8, 0.6, 0.5


class Agreement(Record):
    """How far labellers agree. ``alpha`` is 1 for always, 0 for as often as by chance.

    None where nothing can be said; ``undefined`` says why. ``share`` is that of pairs of
    labels on one answer that are the same.
    """

    labels: int
    labellers: int
    items: int
    """Answers with two or more labels."""
    share: float | None
    alpha: float | None
    undefined: str | None


def priority_of(answer: AnswerWithFeedback, score: float | None) -> tuple[float, str] | None:
    """How much a label of this answer would teach, in [0, 1], and why; None for not at all.

    First answers that people disagree on, then those that somebody disliked without saying
    what is better, answers cut off, and answers whose ``score`` by the live audit lies near
    0.5, the nearer the more: uncertainty sampling (Settles 2009, Active Learning Literature
    Survey, section 3.1; disagreement is query by committee, section 3.2).
    """
    opinions = {one.value > 0 for one in answer.feedback if one.kind == "thumb" and one.value}
    edited = any(one.kind == "edit" for one in answer.feedback)
    if len(opinions) == 2:
        return CONTESTED, "people disagree"
    if opinions == {False} and not edited:
        return DISLIKED, "disliked, and nobody said what is better"
    if answer.request.finish_reason == "length":
        return CUT_OFF, "cut off at its limit of tokens"
    if score is not None and score > 0:
        nearness = 1 - 2 * abs(score - 0.5)
        if nearness > 0:
            return BORDERLINE * nearness, "the live audit is not sure"
    return None


def tasks_of(
    answers: Iterable[AnswerWithFeedback], scores: Mapping[str, float], *, now: datetime
) -> list[LabelTask]:
    """Tasks for the answers that would teach something and that people may read."""
    tasks = []
    for answer in answers:
        request = answer.request
        if request.answer is None or request.messages is None or not request.may("review"):
            continue
        found = priority_of(answer, scores.get(request.request_id))
        if found is not None:
            tasks.append(
                LabelTask(
                    request_id=request.request_id, priority=found[0], reason=found[1], added_at=now
                )
            )
    return tasks


def agreement(labels: Iterable[Label]) -> Agreement:
    """Krippendorff's alpha for nominal data, any number of labellers, with gaps.

    1 - (n - 1) * sum of o_ck over c != k / sum of n_c * n_k over c != k, from the coincidences
    o_ck of labels within answers. Source: Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability, https://repository.upenn.edu/asc_papers/43, section C.
    """
    of_item: dict[str, list[str]] = defaultdict(list)
    people = set()
    total = 0
    for label in labels:
        of_item[label.request_id].append(label.label)
        people.add(label.labeller_digest)
        total += 1
    several = [given for given in of_item.values() if len(given) > 1]
    alpha, share, undefined = _alpha(several)
    return Agreement(
        labels=total,
        labellers=len(people),
        items=len(several),
        share=share,
        alpha=alpha,
        undefined=undefined,
    )


def _alpha(items: list[list[str]]) -> tuple[float | None, float | None, str | None]:
    """Alpha, the share of equal pairs, and why there is no alpha."""
    if not items:
        return None, None, "no answer has two labels yet"
    totals: Counter[str] = Counter()
    disagreeing = 0.0
    equal = pairs = 0
    for given in items:
        counts = Counter(given)
        totals.update(counts)
        m = len(given)
        ordered_equal = sum(count * (count - 1) for count in counts.values())
        disagreeing += (m * (m - 1) - ordered_equal) / (m - 1)
        equal += ordered_equal
        pairs += m * (m - 1)
    n = totals.total()
    expected = n * n - sum(count * count for count in totals.values())
    share = equal / pairs
    if expected == 0:
        return None, share, "all labels are the same, so chance alone would agree too"
    return 1 - (n - 1) * disagreeing / expected, share, None


def routes(desk: Desk) -> APIRouter:
    router = APIRouter()

    def labeller(request: Request) -> str:
        digest = person(request)
        if digest is None:
            raise ApiError(
                400, f"say who labels, in the header {UNIT_HEADER}", "missing_labeller", UNIT_HEADER
            )
        return digest

    @router.get("/v1/labelling/next")
    async def next_task(request: Request) -> JSONResponse:
        desk.authorize(request)
        who = labeller(request)
        task = await asyncio.to_thread(desk.store.next_label_task, who)
        waiting = await asyncio.to_thread(desk.store.num_label_tasks, who)
        body: dict[str, Any] = {"object": "labelling.task", "labels": LABELS, "waiting": waiting}
        body["task"] = task.model_dump(mode="json") if task else None
        return JSONResponse(body)

    @router.post("/v1/labelling/labels")
    async def take_label(request: Request) -> JSONResponse:
        async with desk.counted(request):
            who = labeller(request)
            label = parse_label(await desk.body(request), who, now=datetime.now(UTC))
            await asyncio.to_thread(_store, desk, label)
        return JSONResponse({"object": "label", "recorded": True}, 201)

    @router.get("/v1/labelling/agreement")
    async def agree(request: Request) -> JSONResponse:
        desk.authorize(request)
        found = await asyncio.to_thread(lambda: agreement(desk.store.labels()))
        return JSONResponse({"object": "labelling.agreement", **found.model_dump(mode="json")})

    return router


def parse_label(raw: bytes, labeller_digest: str, *, now: datetime) -> Label:
    """The label that a body describes, its text masked. Raises ApiError 400."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the label is no valid JSON: {error}", "invalid_json") from error
    if not isinstance(body, dict) or set(body) - {"request_id", "label", "better"}:
        raise ApiError(400, "a label has request_id, label and better, no more", "invalid_label")
    better = body.get("better")
    if isinstance(better, str) and len(better) <= MAX_TEXT_CHARS:  # a longer one is refused
        body["better"] = mask(better).text.strip() or None
    try:
        return Label.model_validate({**body, "labeller_digest": labeller_digest, "created_at": now})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"{place}: {first['msg']}", "invalid_label", place) from error


def _store(desk: Desk, label: Label) -> None:
    try:
        if not desk.store.is_label_task(label.request_id):
            raise ApiError(404, "that answer is not in the queue", "no_task", "request_id")
        desk.store.record_label(label)
    except LEDGER_ERRORS as error:
        raise ApiError(
            503,
            "the label was not stored: the ledger does not answer; send it again",
            "not_stored",
            retry_after_seconds=RETRY_SECONDS,
        ) from error
