"""`hallmark serve`: checkpoints by alias or name behind one OpenAI-compatible server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from commands.session import Session
from commands.state import ensure_trust
from registry.checkpoint import read_manifest
from registry.records import UserError
from serve.experiment_desk import design_of
from serve.experiment_files import ExperimentDesign, load_design
from serve.settings import ServingPlan, VariantPlan, settings_from_environment

DEFAULT_VARIANTS = ("champion=champion",)


class VariantError(UserError):
    """A --variant or --engine that cannot be read."""


@dataclass(frozen=True)
class Options:
    """How variants are served: engines of each here, or ``NAME=http://HOST:PORT`` elsewhere."""

    replicas: int = 1
    engines: tuple[str, ...] = ()
    cross_to: str | None = None
    workers: int | None = None
    """Processes that answer; None leaves it to HALLMARK_WORKERS."""

    def addresses(self, variant: str) -> tuple[str, ...]:
        """Of this variant's engines elsewhere. Raises VariantError, AddressError."""
        from serve.remote import host_and_port

        found = []
        for text in self.engines:
            name, separator, address = text.partition("=")
            if not separator:
                raise VariantError(f"--engine {text!r}: write NAME=http://HOST:PORT")
            if name == variant:
                host_and_port(address)
                found.append(address)
        return tuple(found)


def variant_plan(session: Session, text: str, options: Options | None = None) -> VariantPlan:
    """``NAME=CHECKPOINT`` or ``NAME=CHECKPOINT:WEIGHT`` with its checkpoint's folder."""
    options = options or Options()
    name, separator, rest = text.partition("=")
    if "://" in rest:
        raise VariantError(
            f"--variant {text!r}: nobody vouches for what answers at a bare address. Start "
            f"`hallmark engine CHECKPOINT` there, and then give --variant {name}=CHECKPOINT "
            f"--engine {name}=http://HOST:PORT"
        )
    reference, _, weight = rest.rpartition(":") if _has_weight(rest) else (rest, "", "1")
    if not separator or not reference:
        raise VariantError(f"--variant {text!r}: write NAME=CHECKPOINT or NAME=CHECKPOINT:WEIGHT")
    folder = session.checkpoint(reference)
    try:
        return VariantPlan(
            name=name,
            checkpoint=folder,
            weight=float(weight),
            base=session.base_of(read_manifest(folder)),
            replicas=options.replicas,
            engines=options.addresses(name),
            follows=reference if reference in session.ledger.aliases() else None,
        )
    except ValidationError as error:
        raise VariantError(f"--variant {text!r}: {error.errors()[0]['msg']}") from error


def declared(design: ExperimentDesign) -> tuple[str, ...]:
    """A declared experiment's variants as --variant takes them; shadows have no weight."""
    return tuple(f"{one.name}={one.checkpoint}:{one.weight!r}" for one in design.variants)


def _has_weight(rest: str) -> bool:
    """A digest (``sha256:...``) holds a colon too, but no weight behind it."""
    _, colon, last = rest.rpartition(":")
    try:
        return bool(colon) and float(last) >= 0 and not rest.startswith(f"sha256:{last}")
    except ValueError:
        return False


def serve(
    session: Session,
    *,
    variants: tuple[str, ...],
    host: str,
    port: int,
    model: str,
    experiment: str,
    store_conversations: bool | None,
    options: Options | None = None,
) -> int:
    from serve.run import serve as run

    ensure_trust(session)
    options = options or Options()
    design = None
    if experiment.endswith((".yaml", ".yml")):
        design = load_design(Path(experiment))
        if variants != DEFAULT_VARIANTS:
            raise VariantError(f"{experiment} declares the variants; leave --variant out")
        variants, experiment = declared(design), design.name
    elif variants == DEFAULT_VARIANTS and experiment in session.ledger.experiments():
        design = design_of(session.ledger, experiment)
        variants = variants if design is None else declared(design)
    plans = tuple(variant_plan(session, text, options) for text in variants)
    known = {one.name for one in plans}
    if stray := [text for text in options.engines if text.partition("=")[0] not in known]:
        raise VariantError(f"--engine {stray[0]!r} names no variant; have {', '.join(known)}")
    try:
        plan = ServingPlan(
            model_name=model,
            experiment=experiment,
            salt=experiment if design is None else design.salted,
            variants=plans,
            design=design,
            cross_to=options.cross_to,
        )
    except ValidationError as error:
        raise VariantError(f"the variants do not fit: {error.errors()[0]['msg']}") from error
    given: dict[str, Any] = {
        "plan": plan,
        "home": session.home.root,
        "ledger_url": session.home.ledger_url,
        "host": host,
        "port": port,
    }
    if store_conversations is not None:
        given["store_conversations"] = store_conversations
    if options.workers is not None:
        given["workers"] = options.workers
    run(settings_from_environment(os.environ, **given))
    return 0
