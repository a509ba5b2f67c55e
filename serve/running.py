"""A declared experiment as the gateway runs it: its guardian and its shadows, or neither."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from monitoring.series import Series
from serve.assignment import Assigner
from serve.guardian import Guardian, GuardianStore
from serve.recorder import Recorder
from serve.replicas import Fleet
from serve.settings import ServingPlan
from serve.shadow import Shadows


def shadows_of(
    plan: ServingPlan, fleet: Fleet, recorder: Recorder, series: Series
) -> Shadows | None:
    """None where the plan declares no shadow."""
    if plan.design is None or not plan.design.shadows:
        return None
    return Shadows(fleet, recorder.put, series, model_name=plan.model_name)


@contextlib.asynccontextmanager
async def guarded_experiment(
    plan: ServingPlan,
    store: GuardianStore,
    assigner: Assigner,
    shadows: Shadows | None,
    series: Series,
) -> AsyncIterator[None]:
    """While the block runs, a guardian watches the plan's experiment, where one is declared."""
    watching: asyncio.Task[None] | None = None
    if plan.design is not None:
        guardian = Guardian(plan.design, store, assigner.apply, lambda: assigner.shares, series)
        watching = asyncio.create_task(guardian.run(), name="guardian")
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if shadows is not None:
            await shadows.close()
