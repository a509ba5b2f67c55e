"""The supervisor: which engines there are, and how one set of them takes over from another.

A variant has one engine or several; LoRA adapters of one base share its engines. Every start
goes through admission, which hashes the files afresh. A promotion starts new engines beside
the old, proves them with golden log-probabilities, flips, and lets the old ones finish what
they have; a rollback is the same with the checkpoints the other way round. How one engine
is kept is ``serve.keeper``'s business, and who answers a request ``serve.replicas``'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from monitoring.series import Series
from registry.golden import Golden
from registry.records import UserError, short
from serve.admission import Admission, Verified
from serve.engine_process import on_cpu, split_cores
from serve.golden import prove, served_dtype
from serve.keeper import Keeper, Seat, Tools, stop_all, wait_all
from serve.remote import RemoteKeeper, RemoteUpstream
from serve.replicas import Fleet, Replicas
from serve.settings import ServeSettings, VariantPlan
from serve.upstream import Upstream, new_upstream

log = logging.getLogger("hallmark.engines")

Goldens = Callable[[str], Sequence[Golden]]
Noted = Callable[[tuple[VariantPlan, ...], Mapping[str, Verified]], None]


class PromotionError(UserError):
    """The running server keeps answering with what it had; the message says why."""


@dataclass
class Group:
    """Variants that share their engines: one alone, or a base's adapters, maybe with the base."""

    plans: tuple[VariantPlan, ...]
    cores: list[tuple[int, ...]]
    keepers: list[Keeper]

    def __contains__(self, variant: str) -> bool:
        return any(plan.name == variant for plan in self.plans)


class Supervisor:
    """All engines of one gateway. ``failure`` is set when one could never be started."""

    def __init__(
        self,
        settings: ServeSettings,
        admission: Admission,
        admitted: Mapping[str, Verified],
        series: Series,
        *,
        environ: Mapping[str, str],
        goldens: Goldens = lambda digest: (),
        noted: Noted = lambda plans, admitted: None,
    ) -> None:
        """``admitted`` is what admission said of each variant just now: good for one start.

        ``goldens`` reads a checkpoint's golden log-probabilities; ``noted`` is told, on a
        thread of its own, what is served after a flip.
        """
        self._settings = settings
        self._series = series
        self._goldens = goldens
        self._noted = noted
        self._folder = Path(tempfile.mkdtemp(prefix="hallmark-"))
        self._num_sockets = 0
        self._promoting = asyncio.Lock()
        self._leaving: dict[asyncio.Task[None], list[Keeper]] = {}
        self._admitted = dict(admitted)
        self.failure: asyncio.Future[UserError] = asyncio.get_running_loop().create_future()
        self.replicas = {
            plan.name: Replicas(
                plan.name,
                self._admitted[plan.name].manifest.weights_digest,
                max_queued=settings.max_queued,
                queue_seconds=settings.queue_seconds,
            )
            for plan in settings.plan.variants
        }
        self.fleet = Fleet(self.replicas, settings.plan.cross_to)
        for name, one in self.replicas.items():
            series.open_breakers.labels(variant=name).set_function(
                partial(getattr, one, "open_breakers")
            )
            series.queued.labels(variant=name).set_function(partial(getattr, one, "queued"))
        grouped = group_plans(settings.plan.variants)
        cpu = on_cpu()
        self._tools = Tools(
            settings=settings,
            admission=admission,
            environ=environ,
            cpu=cpu,
            turn=asyncio.Semaphore(max(map(num_engines, grouped)) * len(grouped) if cpu else 1),
            changed=self._changed,
            restarted=lambda variant: series.engine_restarts.labels(variant=variant).inc(),
        )
        cores = sorted(settings.engine.cores or os.sched_getaffinity(0))
        shares = iter(split_cores(cores, sum(map(num_engines, grouped))))
        self._groups: list[Group] = []
        for plans in grouped:
            group = Group(plans, [next(shares) for _ in range(num_engines(plans))], [])
            group.keepers = self._keepers(group, plans, self._admitted)
            self._flip(group)
            self._groups.append(group)

    @property
    def control(self) -> Path:
        """A folder that only this user may enter: the place for the control socket."""
        return self._folder

    @property
    def upstreams(self) -> Mapping[str, Upstream]:
        """The replica of each variant that is best off."""
        return {
            name: max(one.members, key=lambda member: member.state == "up")
            for name, one in self.replicas.items()
        }

    async def start(self) -> None:
        for group in self._groups:
            for keeper in group.keepers:
                keeper.first.add_done_callback(self._first_start)
                keeper.begin()

    async def stop(self) -> None:
        await stop_all([keeper for group in self._groups for keeper in group.keepers])
        leaving = dict(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        await stop_all([keeper for keepers in leaving.values() for keeper in keepers])
        shutil.rmtree(self._folder, ignore_errors=True)

    async def promote(
        self, variant: str, checkpoint: Path, base: Path | None = None
    ) -> tuple[str, str]:
        """Let ``checkpoint`` answer for the variant, and lose no request over it.

        Gives the weights digests before and after. Raises PromotionError, AdmissionError,
        EngineError or GoldenError, and the old engines go on as if nothing had been.
        """
        async with self._promoting:
            group = next((one for one in self._groups if variant in one), None)
            if group is None:
                have = ", ".join(self.replicas)
                raise PromotionError(f"no variant named {variant!r} is served; have {have}")
            if any(plan.engines for plan in group.plans):
                raise PromotionError(
                    f"variant {variant} is answered by engines elsewhere; start new ones there "
                    "with `hallmark engine`, and then this server with their addresses"
                )
            update = {"checkpoint": checkpoint, "base": base}
            plans = tuple(
                plan.model_copy(update=update) if plan.name == variant else plan
                for plan in group.plans
            )
            if len(set(map(foundation, plans))) > 1:
                raise PromotionError(
                    f"variant {variant} shares its engine with others on the same base; "
                    "restart `hallmark serve` to move it to another base"
                )
            admission = self._tools.admission
            admitted = {
                plan.name: await asyncio.to_thread(
                    admission.admit, plan.name, plan.checkpoint, plan.base
                )
                for plan in plans
            }
            before = self.replicas[variant].checkpoint
            after = admitted[variant].manifest.weights_digest
            if before != after:
                await self._take_over(group, plans, admitted, variant)
                log.info("variant %s: %s took over from %s", variant, short(after), short(before))
            return before, after

    async def _take_over(
        self,
        group: Group,
        plans: tuple[VariantPlan, ...],
        admitted: Mapping[str, Verified],
        promoted: str,
    ) -> None:
        keepers = self._keepers(group, plans, admitted)
        try:
            for keeper in keepers:
                keeper.begin()
            await wait_all(keepers)
            for keeper in keepers:
                await self._prove(keeper, promoted)
        except BaseException:
            await stop_all(keepers)
            raise
        old = group.keepers
        group.plans, group.keepers = plans, keepers
        self._admitted |= admitted
        self._flip(group)
        self._tell(promoted)
        task = asyncio.create_task(self._leave(old), name="draining")
        self._leaving[task] = old
        task.add_done_callback(lambda done: self._leaving.pop(done, None))
        await asyncio.to_thread(self._noted, self._plans(), self._admitted)

    async def _prove(self, keeper: Keeper, promoted: str) -> None:
        plan = self._settings.plan
        for seat in keeper.seats:
            folder = seat.plan.base or seat.plan.checkpoint
            goldens = await asyncio.to_thread(self._goldens, seat.upstream.checkpoint)
            if goldens or seat.plan.name == promoted:
                dtype = served_dtype(self._settings.engine.dtype, folder, cpu=self._tools.cpu)
                await prove(seat.upstream, seat.upstream.model or plan.model_name, goldens, dtype)

    async def _leave(self, keepers: Sequence[Keeper]) -> None:
        """The old engines finish what they have; there is no hurry."""
        grace = self._settings.request_timeout_seconds
        await asyncio.gather(*(keeper.drain(grace) for keeper in keepers))

    def _plans(self) -> tuple[VariantPlan, ...]:
        now = {plan.name: plan for group in self._groups for plan in group.plans}
        return tuple(now[plan.name] for plan in self._settings.plan.variants)

    def _keepers(
        self, group: Group, plans: Sequence[VariantPlan], admitted: Mapping[str, Verified]
    ) -> list[Keeper]:
        """One per engine, each with a seat for every variant of the group; not begun yet."""
        made: list[Keeper] = []
        for index, cores in enumerate(group.cores):
            name = plans[0].name if index == 0 else f"{plans[0].name}-{index + 1}"
            address = plans[0].engines[index] if plans[0].engines else None
            self._num_sockets += 1
            socket = self._folder / f"{self._num_sockets}.sock"
            seats = [
                Seat(plan, self._upstream(plan, admitted[plan.name], socket, address))
                for plan in plans
            ]
            kind = Keeper if address is None else RemoteKeeper
            # What was admitted just now is good for one start: the first engine's.
            first = admitted if index == 0 else {}
            made.append(kind(name, seats, self._tools, cores=cores, admitted=first))
        return made

    def _upstream(
        self, plan: VariantPlan, admitted: Verified, socket: Path, address: str | None
    ) -> Upstream:
        digest = admitted.manifest.weights_digest
        if address is not None:
            return RemoteUpstream.at(address, self._settings, plan.name, digest)
        upstream = new_upstream(self._settings, plan.name, digest, socket)
        if plan.base is not None:
            upstream.model = f"{self._settings.plan.model_name}@{plan.name}"
        return upstream

    def _flip(self, group: Group) -> None:
        """From here on new requests go to the group's keepers; there is no await in it."""
        for number, plan in enumerate(group.plans):
            members = [keeper.seats[number].upstream for keeper in group.keepers]
            self.replicas[plan.name].flip(members, members[0].checkpoint)
            self._show(plan.name)

    def _tell(self, variant: str) -> None:
        """Of all checkpoints only the one that answers now has the variant's info series."""
        info, experiment = self._series.variant_info, self._settings.plan.experiment or ""
        now = self.replicas[variant].checkpoint
        for sample in [sample for family in info.collect() for sample in family.samples]:
            labels = sample.labels
            if labels["variant"] == variant and labels["checkpoint"] != now:
                info.labels(**labels).set(0)  # several workers' files keep what is removed
                info.remove(variant, labels["checkpoint"], labels["experiment"])
        info.labels(variant=variant, checkpoint=now, experiment=experiment).set(1)

    def _changed(self, upstream: Upstream, fresh: bool) -> None:
        replicas = self.replicas[upstream.name]
        if fresh:
            replicas.started(upstream)
        else:
            replicas.changed()
        self._show(upstream.name)

    def _show(self, variant: str) -> None:
        num_up = sum(member.state == "up" for member in self.replicas[variant].members)
        self._series.engine_up.labels(variant=variant).set(1 if num_up else 0)
        self._series.replicas_up.labels(variant=variant).set(num_up)

    def _first_start(self, first: asyncio.Future[None]) -> None:
        if first.cancelled() or self.failure.done():
            return
        if isinstance(error := first.exception(), UserError):
            self.failure.set_result(error)

    def describe(self) -> list[dict[str, Any]]:
        """One row per variant; ``replicas`` has one per engine."""
        rows = []
        for plan in self._plans():
            group = next(one for one in self._groups if plan.name in one)
            number = group.plans.index(plan)
            replicas = self.replicas[plan.name]
            engines = [
                {
                    "engine": keeper.name,
                    "state": (upstream := keeper.seats[number].upstream).state,
                    "breaker": replicas.breaker(upstream).state,
                    "reason": upstream.reason,
                    "in_flight": upstream.in_flight,
                    "restarts": keeper.restarts,
                    "pid": keeper.pid,
                    "log": str(keeper.log),
                }
                for keeper in group.keepers
            ]
            rows.append(
                {
                    "variant": plan.name,
                    "checkpoint": replicas.checkpoint,
                    "state": replicas.state,
                    "reason": replicas.reason,
                    "in_flight": replicas.in_flight,
                    "queued": replicas.queued,
                    "max_in_flight": sum(member.max_in_flight for member in replicas.members),
                    "restarts": sum(keeper.restarts for keeper in group.keepers),
                    "pid": group.keepers[0].pid,
                    "log": str(group.keepers[0].log),
                    "follows": plan.follows,
                    "replicas": engines,
                }
            )
        return rows


def foundation(plan: VariantPlan) -> Path:
    """The folder whose weights the engine loads: an adapter's base."""
    return (plan.base or plan.checkpoint).resolve()


def num_engines(plans: Sequence[VariantPlan]) -> int:
    return len(plans[0].engines) or max(plan.replicas for plan in plans)


def group_plans(plans: Sequence[VariantPlan]) -> list[tuple[VariantPlan, ...]]:
    """Adapters of one base together, and the base itself with them where it is served.

    Other variants stand alone, even of the same checkpoint: an A/A test wants two engines.
    """
    bases = {foundation(plan) for plan in plans if plan.base is not None}
    shared: dict[Path, list[VariantPlan]] = {}
    alone: list[tuple[VariantPlan, ...]] = []
    for plan in plans:
        folder = foundation(plan)
        seated = shared.get(folder, [])
        second_base = plan.base is None and any(other.base is None for other in seated)
        if folder in bases and not second_base and not plan.engines:
            shared.setdefault(folder, []).append(plan)
        else:
            alone.append((plan,))
    return [*(tuple(together) for together in shared.values()), *alone]
