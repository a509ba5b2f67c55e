"""`hallmark serve`: checkpoints by alias or name behind one OpenAI-compatible server."""

from __future__ import annotations

import os
from typing import Any

from pydantic import ValidationError

from commands.session import Session
from commands.state import ensure_trust
from registry.records import UserError
from serve.settings import ServingPlan, VariantPlan, settings_from_environment


class VariantError(UserError):
    """A --variant that cannot be read."""


def variant_plan(session: Session, text: str) -> VariantPlan:
    """``NAME=CHECKPOINT`` or ``NAME=CHECKPOINT:WEIGHT`` with its checkpoint's folder."""
    name, separator, rest = text.partition("=")
    reference, _, weight = rest.rpartition(":") if _has_weight(rest) else (rest, "", "1")
    if not separator or not reference:
        raise VariantError(f"--variant {text!r}: write NAME=CHECKPOINT or NAME=CHECKPOINT:WEIGHT")
    try:
        return VariantPlan(
            name=name, checkpoint=session.checkpoint(reference), weight=float(weight)
        )
    except ValidationError as error:
        raise VariantError(f"--variant {text!r}: {error.errors()[0]['msg']}") from error


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
) -> int:
    from serve.run import serve as run

    ensure_trust(session)
    plans = tuple(variant_plan(session, text) for text in variants)
    try:
        plan = ServingPlan(model_name=model, experiment=experiment, salt=experiment, variants=plans)
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
    run(settings_from_environment(os.environ, **given))
    return 0
