"""Which variant answers: a sticky hash of the unit, or the variant that the model name pins.

The unit of an experiment is a user or a conversation, never a request. Without a declared
experiment it is taken from the header ``x-hallmark-unit``, else from the body's
``safety_identifier`` or ``user``, else from ``metadata.conversation_id``; an experiment says
which of them it means. A request without a unit is refused or drawn at random, as the
experiment says, and one that was drawn is recorded as excluded.

The interface to the hot path is ``Assigner.assign``; whoever watches the experiment calls
``Assigner.apply`` with its new state, from any thread.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from registry.served import Excluded
from serve.errors import ApiError
from serve.experiment_files import ExperimentDesign
from serve.experiment_state import ExperimentState
from serve.settings import ServingPlan

MAX_UNIT_BYTES = 1024
MIN_DIGEST_DIGITS = 8
OTHER_SEGMENT = "other"
FIELDS_OF_UNIT = {
    "any": ("safety_identifier", "user", "conversation_id"),
    "user": ("safety_identifier", "user"),
    "conversation": ("conversation_id",),
}


@dataclass(frozen=True)
class Assignment:
    """Who answers. ``unit_digest`` is None without a unit; pinned requests are in no experiment.

    ``propensity`` is the chance in (0, 1] with which the unit got this variant, None for
    requests that are pinned or ``excluded``. ``shadows`` get a copy of the request.
    """

    variant: str
    pinned: bool
    unit_digest: str | None
    propensity: float | None = None
    excluded: Excluded | None = None
    segments: dict[str, str] | None = None
    shadows: tuple[str, ...] = ()


def position(salt: str, unit: str) -> float:
    """Where a unit stands in [0, 1): the first 8 bytes of SHA-256 over ``salt:unit``."""
    return _hash(salt, unit)[0]


def _hash(salt: str, unit: str) -> tuple[float, str]:
    digest = hashlib.sha256(f"{salt}:{unit}".encode("utf-8", "surrogatepass"))
    # 53 bits are all that a float holds: more would round the last units up to 1.
    return (int.from_bytes(digest.digest()[:8], "big") >> 11) / 2**53, digest.hexdigest()


@dataclass(frozen=True)
class _Split:
    """One state of the experiment, ready for look-ups; swapped as a whole."""

    names: tuple[str, ...]
    borders: tuple[float, ...]
    propensities: Mapping[str, float]
    running: bool
    share: float
    off: frozenset[str]

    def at(self, place: float) -> str:
        share = place * self.borders[-1]
        for name, border in zip(self.names, self.borders, strict=True):
            if share < border:
                return name
        return self.names[-1]


class Assigner:
    """A plan's split. Deterministic: the same salt, weights and unit give the same variant.

    It keeps nothing, so it survives restarts and is the same in every gateway. What holds
    when something changes under the same salt:

    - Ramp and holdout: a rising share adds units and moves none; those who came in stay.
    - Weights: variants keep their order, and only units between the old and the new borders
      move. With two variants they move one way. Whoever moved was answered by both and is
      left out of the analysis as a crossover: prefer the ramp to changing weights.
    - A variant that is added or removed in the middle moves units of its neighbours; add
      it at the end, or start a new experiment with a new salt.
    - A variant that is switched off: its units get the control, excluded as ``stopped``,
      and nobody else moves.
    """

    def __init__(
        self, plan: ServingPlan, checkpoints: Mapping[str, str], rng: random.Random
    ) -> None:
        """``checkpoints`` gives each variant's weights digest; ``rng`` draws for no unit.

        A declared experiment (``plan.design``) waits for its state: the control answers.
        """
        self._plan = plan
        self._checkpoints = checkpoints
        self._rng = rng
        self._design: ExperimentDesign | None = plan.design
        self._salt = plan.salt if self._design is None else self._design.salted
        self._kind: Literal["any", "user", "conversation"] = (
            "any" if self._design is None else self._design.unit
        )
        self._control = next(one.name for one in plan.variants if one.weight > 0)
        self.models = (plan.model_name, *(f"{plan.model_name}@{name}" for name in checkpoints))
        self.apply(ExperimentState(running=self._design is None))

    def apply(self, state: ExperimentState) -> None:
        """Assign by this state from now on."""
        planned = {one.name: one.weight for one in self._plan.variants if one.weight > 0}
        if self._design is not None:
            planned = self._design.weights
            self._control = self._design.control
        weights = {name: w for name, w in {**planned, **(state.weights or {})}.items() if w > 0}
        whole = sum(weights.values())
        self._split = _Split(
            names=tuple(weights),
            borders=tuple(accumulate(weights.values())),
            propensities={name: weight / whole for name, weight in weights.items()},
            running=state.running,
            share=state.share,
            off=frozenset(state.off),
        )

    @property
    def shares(self) -> dict[str, float]:
        """The share of units that each variant that may answer gets now; the sum is 1."""
        split = self._split
        if not split.running:
            return {name: float(name == self._control) for name in split.names}
        held_out = 0.0
        if self._design is not None and self._design.holdout is not None:
            held_out = self._design.holdout.share
        inside = split.share * (1 - held_out)
        found = {
            name: 0.0 if name in split.off else inside * chance
            for name, chance in split.propensities.items()
        }
        found[self._control] = found.get(self._control, 0.0) + 1 - sum(found.values())
        return found

    def assign(self, model: Any, body: Mapping[str, Any], header_unit: bytes | None) -> Assignment:
        """Raises ApiError 400 without a model or a unit that is asked for, 404 for a model
        that is not served."""
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
        unit = unit_of(body, header_unit, self._kind)
        split, design = self._split, self._design
        if unit is None:
            return self._without_unit(split, design)
        place, digest = _hash(self._salt, unit)
        digest = "sha256:" + digest
        if design is None and split.running and not split.off:
            variant = split.at(place)
            return Assignment(variant, False, digest, split.propensities[variant])
        segments = _segments(design, body)
        excluded: Excluded | None = None
        variant = self._control
        if self._held_out(unit):
            excluded = "holdout"
        elif not split.running:
            excluded = "stopped"
        elif split.share < 1 and position(f"{self._salt}/ramp", unit) >= split.share:
            excluded = "ramp"
        else:
            variant = split.at(place)
            if variant in split.off:
                variant, excluded = self._control, "stopped"
        if excluded is not None:
            return Assignment(variant, False, digest, None, excluded, segments)
        chance = split.propensities[variant]
        return Assignment(variant, False, digest, chance, None, segments, self._shadows(unit))

    def _without_unit(self, split: _Split, design: ExperimentDesign | None) -> Assignment:
        if design is not None and design.without_unit == "reject":
            fields = [
                "metadata.conversation_id" if name == "conversation_id" else name
                for name in FIELDS_OF_UNIT[self._kind]
            ]
            raise ApiError(
                400,
                f"experiment {design.name} assigns by {design.unit} and the request names none; "
                f"send the header x-hallmark-unit or {' or '.join(fields)}",
                "missing_unit",
                fields[0],
                reason="invalid_request",
            )
        variant = self._control
        if split.running and (split.share == 1 or self._rng.random() < split.share):
            variant = split.at(self._rng.random())
            variant = self._control if variant in split.off else variant
        return Assignment(variant, False, None, None, "no-unit", _segments(design, {}))

    def _held_out(self, unit: str) -> bool:
        holdout = None if self._design is None else self._design.holdout
        return holdout is not None and position(holdout.salt, unit) < holdout.share

    def _shadows(self, unit: str) -> tuple[str, ...]:
        if self._design is None:
            return ()
        return tuple(
            name
            for name, share in self._design.shadows.items()
            if name not in self._split.off and position(f"{self._salt}/shadow/{name}", unit) < share
        )

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


def unit_of(
    body: Mapping[str, Any],
    header_unit: bytes | None,
    kind: Literal["any", "user", "conversation"] = "any",
) -> str | None:
    """The experiment's unit, None where the request names none. Empty strings do not count."""
    if header_unit:
        return header_unit[:MAX_UNIT_BYTES].decode("utf-8", "replace")
    for name in FIELDS_OF_UNIT[kind]:
        place: Any = body
        if name == "conversation_id":
            place = body.get("metadata")
        value = place.get(name) if isinstance(place, Mapping) else None
        if isinstance(value, str) and value:
            return value
    return None


def _segments(design: ExperimentDesign | None, body: Mapping[str, Any]) -> dict[str, str] | None:
    """The declared segments of a request; a value that is not declared is "other"."""
    if design is None or not design.segments:
        return None
    metadata = body.get("metadata")
    found = {}
    for key, values in design.segments.items():
        value = metadata.get(key) if isinstance(metadata, Mapping) else None
        found[key] = value if isinstance(value, str) and value in values else OTHER_SEGMENT
    return found
