"""Which variant answers: a sticky hash of the unit, or the variant that the model name pins.

The unit of an experiment is a user or a conversation, never a request. It is taken from
the header ``x-hallmark-unit``, else from the body's ``safety_identifier`` or ``user``, else
from ``metadata.conversation_id``. A request without a unit is drawn at random by the
weights and recorded without one, so that analysis leaves it out.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from serve.errors import ApiError
from serve.settings import ServingPlan

MAX_UNIT_BYTES = 1024
MIN_DIGEST_DIGITS = 8


@dataclass(frozen=True)
class Assignment:
    """Who answers. ``unit_digest`` is None without a unit; pinned requests are in no experiment."""

    variant: str
    pinned: bool
    unit_digest: str | None


def position(salt: str, unit: str) -> float:
    """Where a unit stands in [0, 1): the first 8 bytes of SHA-256 over ``salt:unit``."""
    return _hash(salt, unit)[0]


def _hash(salt: str, unit: str) -> tuple[float, str]:
    digest = hashlib.sha256(f"{salt}:{unit}".encode("utf-8", "surrogatepass"))
    # 53 bits are all that a float holds: more would round the last units up to 1.
    return (int.from_bytes(digest.digest()[:8], "big") >> 11) / 2**53, digest.hexdigest()


class Assigner:
    """A plan's split. Deterministic: the same salt, weights and unit give the same variant.

    Where weights change, only units between the old and the new borders move; variants
    keep their order in the plan.
    """

    def __init__(
        self, plan: ServingPlan, checkpoints: Mapping[str, str], rng: random.Random
    ) -> None:
        """``checkpoints`` gives each variant's weights digest; ``rng`` draws for no unit."""
        self._plan = plan
        self._checkpoints = dict(checkpoints)
        self._rng = rng
        variants = [variant for variant in plan.variants if variant.weight > 0]
        self._names = [variant.name for variant in variants]
        self._borders = list(accumulate(variant.weight for variant in variants))
        self.models = (plan.model_name, *(f"{plan.model_name}@{name}" for name in checkpoints))

    def assign(self, model: Any, body: Mapping[str, Any], header_unit: bytes | None) -> Assignment:
        """Raises ApiError 400 without a model, 404 for one that is not served."""
        if not isinstance(model, str):
            raise ApiError(
                400,
                f"the request needs a model, a string; have {', '.join(self.models)}",
                "missing_model",
                "model",
                reason="invalid_request",
            )
        if model != self._plan.model_name:
            return Assignment(self._pinned(model), True, None)
        unit = unit_of(body, header_unit)
        if unit is None:
            return Assignment(self._at(self._rng.random()), False, None)
        place, digest = _hash(self._plan.salt, unit)
        return Assignment(self._at(place), False, "sha256:" + digest)

    def _at(self, place: float) -> str:
        share = place * self._borders[-1]
        for name, border in zip(self._names, self._borders, strict=True):
            if share < border:
                return name
        return self._names[-1]

    def _pinned(self, model: str) -> str:
        name, at, pin = model.partition("@")
        if at and name == self._plan.model_name:
            if pin in self._checkpoints:
                return pin
            digits = pin.removeprefix("sha256:")
            if pin.startswith("sha256:") and len(digits) >= MIN_DIGEST_DIGITS:
                for variant, checkpoint in self._checkpoints.items():
                    if checkpoint.startswith(pin):
                        return variant
        raise ApiError(
            404,
            f"no model named {model[:200]!r}; have {', '.join(self.models)}",
            "model_not_found",
            "model",
            reason="unknown_model",
        )


def unit_of(body: Mapping[str, Any], header_unit: bytes | None) -> str | None:
    """The experiment's unit, None where the request names none. Empty strings do not count."""
    if header_unit:
        return header_unit[:MAX_UNIT_BYTES].decode("utf-8", "replace")
    for key in ("safety_identifier", "user"):
        value = body.get(key)
        if isinstance(value, str) and value:
            return value
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        value = metadata.get("conversation_id")
        if isinstance(value, str) and value:
            return value
    return None
