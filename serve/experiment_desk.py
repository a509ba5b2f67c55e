"""Experiments from outside: declared, started, stopped, by command or through the API.

POST /admin/experiments                   a design as JSON; it is served after a restart
GET  /admin/experiments/{name}            its design, where it stands, and its events
POST /admin/experiments/{name}/start      a new run; with "variant", the end of its pause
POST /admin/experiments/{name}/stop       the control answers; with "variant", for that one

The read-out is `hallmark experiment status`: it reads all traffic, which the process that
answers users should not do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from registry.experiments import EventKind, ExperimentEvent
from registry.records import UserError, describe_unknown
from serve.desk import Desk
from serve.errors import ApiError
from serve.experiment_files import ExperimentDesign, ExperimentFileError, parse_design
from serve.experiment_state import ExperimentState, state_of

Change = Literal["start", "stop"]


class ExperimentChangeError(UserError):
    """The experiment is not there, or is not one that can be changed so."""


class ExperimentStore(Protocol):
    """What experiments need of a ledger."""

    def experiments(self) -> Sequence[str]: ...

    def experiment(self, name: str, /) -> Mapping[str, Any] | None: ...

    def record_experiment(self, name: str, body: Mapping[str, Any], /) -> None: ...

    def experiment_events(self, experiment: str, /) -> Sequence[ExperimentEvent]: ...

    def record_experiment_event(self, event: ExperimentEvent, /) -> bool: ...


def body_of(store: ExperimentStore, name: str) -> Mapping[str, Any]:
    body = store.experiment(name)
    if body is None:
        raise ExperimentChangeError(
            f"{describe_unknown('experiment', name, list(store.experiments()))}; one is recorded "
            "when the server starts: hallmark serve --experiment NAME --variant a=... "
            "--variant b=..."
        )
    return body


def design_of(store: ExperimentStore, name: str) -> ExperimentDesign | None:
    """The declared design; None for a split that was only given as --variant."""
    declared = body_of(store, name).get("design")
    return None if declared is None else parse_design(declared, where=f"experiment {name}")


def standing(store: ExperimentStore, name: str) -> ExperimentState | None:
    """Where a declared experiment stands; None for one that is not declared."""
    design = design_of(store, name)
    return None if design is None else state_of(design, store.experiment_events(name))


def state_body(state: ExperimentState) -> dict[str, Any]:
    return {
        "run": state.run,
        "running": state.running,
        "ended_because": state.ended_because,
        "started_at": None if state.started_at is None else state.started_at.isoformat(),
        "share": state.share,
        "off": dict(state.off),
        "weights": None if state.weights is None else dict(state.weights),
    }


def declare(
    store: ExperimentStore, design: ExperimentDesign, checkpoints: Mapping[str, str] | None = None
) -> bool:
    """Keep a design; True where a server has to be started again to follow it.

    ``checkpoints`` are the variants' weights digests where they are known.
    """
    before = store.experiment(design.name) or {}
    known = checkpoints or {}
    arms = [
        {
            "name": one.name,
            "checkpoint": known.get(one.name, one.checkpoint),
            "weight": one.weight,
        }
        for one in design.variants
    ]
    body = {
        "model_name": before.get("model_name", "hallmark"),
        "salt": design.salted,
        "variants": arms,
        "design": design.model_dump(mode="json"),
    }
    store.record_experiment(design.name, body)
    return before.get("design") not in (None, body["design"])


def change(
    store: ExperimentStore, name: str, what: Change, *, variant: str | None, reason: str
) -> ExperimentEvent:
    """Write a start, stop or resume. Raises ExperimentChangeError where it makes no sense."""
    design = design_of(store, name)
    if design is None:
        raise ExperimentChangeError(
            f"experiment {name} was given as --variant options and runs while it is served; "
            "declare it in a file to start and stop it"
        )
    challengers = [*design.challengers, *design.shadows]
    if variant is not None and variant not in challengers:
        raise ExperimentChangeError(describe_unknown("challenger", variant, challengers))
    state = state_of(design, store.experiment_events(name))
    kind: EventKind = what
    run, times = state.run, state.times_off.get(variant or "", 0)
    key = f"{what}/{variant or 'all'}/{times}"
    if what == "start" and variant is None:
        run, key = run + 1, "start"
    elif not state.running:
        raise ExperimentChangeError(
            f"experiment {name} is not running: {state.ended_because}; start it with "
            f"hallmark experiment start {name}"
        )
    elif what == "start":
        why = state.off.get(variant or "")
        if why != "pause":
            said = "gets its units" if why is None else f"was switched off ({why})"
            raise ExperimentChangeError(
                f"variant {variant} {said}, so there is no pause to end; for a new run: "
                f"hallmark experiment start {name}"
            )
        kind, key = "resume", f"resume/{variant}/{times}"
    event = ExperimentEvent(
        key=f"{name}/{run}/{key}",
        experiment=name,
        kind=kind,
        variant=variant,
        reason=reason,
        at=datetime.now(UTC),
    )
    store.record_experiment_event(event)
    return event


def routes(store: ExperimentStore, desk: Desk) -> APIRouter:
    """For keys with the scope admin; ``desk`` says who asks and reads bodies."""
    router = APIRouter()

    @router.post("/admin/experiments")
    async def take_design(request: Request) -> JSONResponse:
        desk.authorize(request)
        design = _refusing(parse_design, _json(await desk.body(request)), where="experiment")
        restart = await asyncio.to_thread(declare, store, design)
        return JSONResponse({"name": design.name, "restart_needed": restart}, 201)

    @router.get("/admin/experiments/{name}")
    async def look(request: Request, name: str) -> JSONResponse:
        desk.authorize(request)
        return JSONResponse(await asyncio.to_thread(_refusing, _look, store, name))

    async def changed(request: Request, name: str, what: Change) -> JSONResponse:
        key = desk.authorize(request)
        raw = await desk.body(request)
        body = _json(raw) if raw else {}
        if set(body) - {"variant", "reason"}:
            raise ApiError(400, "a change has variant and reason, no more", "invalid_request")
        variant, said = body.get("variant"), body.get("reason")
        if not isinstance(variant, str | None) or not isinstance(said, str | None):
            raise ApiError(400, "variant and reason are texts", "invalid_request")
        who = f"API key {key.name}"
        event = await asyncio.to_thread(
            _refusing, change, store, name, what, variant=variant,
            reason=f"{said} ({who})" if said else f"{what} by {who}",
        )  # fmt: skip
        return JSONResponse(event.model_dump(mode="json"), 201)

    @router.post("/admin/experiments/{name}/start")
    async def start(request: Request, name: str) -> JSONResponse:
        return await changed(request, name, "start")

    @router.post("/admin/experiments/{name}/stop")
    async def stop(request: Request, name: str) -> JSONResponse:
        return await changed(request, name, "stop")

    return router


def _look(store: ExperimentStore, name: str) -> dict[str, Any]:
    body, state = body_of(store, name), standing(store, name)
    return {
        "name": name,
        **body,
        "state": None if state is None else state_body(state),
        "events": [one.model_dump(mode="json") for one in store.experiment_events(name)],
    }


def _json(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is no valid JSON: {error}", "invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_json")
    return body


def _refusing(function: Any, *arguments: Any, **options: Any) -> Any:
    """Call it; what its caller can correct becomes a 400, or 404 for an unknown experiment."""
    try:
        return function(*arguments, **options)
    except (ExperimentChangeError, ExperimentFileError) as error:
        unknown = str(error).startswith("no experiment named")
        raise ApiError(404 if unknown else 400, str(error), "invalid_experiment") from error
