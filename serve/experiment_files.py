"""An experiment as people declare it, in YAML or as JSON through the API.

    # yaml-language-server: $schema=PATH/docs/schemas/experiment.schema.json
    name: spring
    unit: user
    without_unit: reject
    variants:
      - {name: a, checkpoint: champion, weight: 1}
      - {name: b, checkpoint: challenger, weight: 1}
      - {name: c, checkpoint: next, shadow: 0.05}
    ramp:
      - {after_hours: 0, share: 0.1}
      - {after_hours: 24, share: 1}
    guardrails:
      - {metric: errors, margin: 0.02}
      - {metric: ttft_ms, limit: 2000}

The first variant is the control: where an experiment is stopped, held or paused it answers.
This module reads and validates; it starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator
from yaml.nodes import MappingNode, Node, SequenceNode

from monitoring.experiments import ExperimentError, metric_named
from registry.experiments import REQUEST_METRICS
from registry.records import Record, UserError, first_problem

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NO_MARGIN = ("ttft_ms", "duration_ms")
BANDIT_METRICS = ("thumbs_up", "errors")
DEFAULT_HOLDOUT_SALT = "holdout"


class ExperimentFileError(UserError):
    """The experiment cannot be run as declared; the message names file, line and key."""


class VariantDesign(Record):
    name: str = Field(pattern=NAME)
    checkpoint: str = Field(min_length=1)
    """An alias, a name, a digest, or a folder."""
    weight: float = Field(default=1.0, ge=0)
    """Its part of the units, relative to the other weights; a shadow's is 0."""
    shadow: float | None = Field(default=None, gt=0, le=1)
    """Share of the units whose requests are copied to it; it answers nobody."""

    @model_validator(mode="before")
    @classmethod
    def _a_shadow_weighs_nothing(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("shadow") is not None:
            return {"weight": 0.0, **value}
        return value

    @model_validator(mode="after")
    def _shadows_have_no_weight(self) -> VariantDesign:
        if self.shadow is not None and self.weight > 0:
            raise ValueError(f"variant {self.name} is a shadow and answers nobody: remove weight")
        return self


class RampStage(Record):
    after_hours: float = Field(ge=0)
    share: float = Field(gt=0, le=1)
    """Of the units that are in the experiment from then on; the others get the control."""


class Holdout(Record):
    """Units that never meet a challenger, in any experiment with the same salt."""

    share: float = Field(gt=0, lt=1)
    salt: str = DEFAULT_HOLDOUT_SALT


class GuardrailDesign(Record):
    """A harm that stops a variant. Exactly one of ``limit`` and ``margin``."""

    metric: str
    """errors, thumbs_down, ttft_ms, duration_ms, completion_tokens, or score:NAME of a scorer."""
    limit: float | None = Field(default=None, ge=0)
    """The variant's own mean over units may not be shown to exceed this."""
    margin: float | None = Field(default=None, ge=0)
    """Its mean may not be shown to exceed the control's by more than this."""
    silent_after_units: int = Field(default=200, ge=1)
    """Units met without a new sample of the metric after which the variant is paused."""

    @model_validator(mode="after")
    def _can_be_judged(self) -> GuardrailDesign:
        if (self.limit is None) == (self.margin is None):
            raise ValueError(f"guardrail {self.metric}: set exactly one of limit and margin")
        known = (*REQUEST_METRICS, "thumbs_down")
        if self.metric not in known and not self.metric.startswith("score:"):
            raise ValueError(
                f"no guardrail metric {self.metric!r}; have {', '.join(known)}, score:NAME"
            )
        return self


class StopRule(Record):
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance of any wrong decision over all looks and challengers."""
    smallest_effect: float = Field(default=0.05, gt=0)
    """Differences of the primary metric below this do not matter."""
    expected_units: int = Field(default=1000, ge=2)
    """Over all arms; intervals are narrowest there."""
    min_units: int = Field(default=30, ge=30)
    """In each arm, before any decision."""
    max_days: float | None = Field(default=None, gt=0)
    """The guardian ends the experiment then, whatever it shows."""


class BanditDesign(Record):
    """Shares that follow the outcomes, batch by batch; each batch's are in the log."""

    method: Literal["thompson", "top-two"] = "top-two"
    every_hours: float = Field(default=6.0, gt=0)
    floor: float = Field(default=0.05, gt=0, le=0.5)
    """The least share of an arm: without it the log could not be read."""


class ExperimentDesign(Record):
    """All that is decided before the first unit is assigned."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME)
    salt: str | None = Field(default=None, min_length=1, max_length=128)
    """Fixes who meets which variant; the name where it is not set."""
    unit: Literal["user", "conversation"] = "user"
    """user: the header x-hallmark-unit, else safety_identifier, else user. conversation: the
    header, else metadata.conversation_id."""
    without_unit: Literal["reject", "random"] = "random"
    """reject: 400. random: a variant by chance, and left out of the analysis."""
    variants: tuple[VariantDesign, ...] = Field(min_length=1)
    ramp: tuple[RampStage, ...] = (RampStage(after_hours=0, share=1),)
    holdout: Holdout | None = None
    segments: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Keys of the request's metadata and the values that are told apart; others are "other"."""
    primary: str = "thumbs_up"
    metrics: tuple[str, ...] = ("errors", "ttft_ms", "duration_ms", "completion_tokens")
    """Shown beside the primary one: those, rating, thumbs_down, score:NAME, feedback:NAME."""
    guardrails: tuple[GuardrailDesign, ...] = ()
    guardrail_alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance that a variant which does no harm is ever stopped, over all guardrails."""
    pools: Literal["shared", "separate"] = "shared"
    """separate: no two variants share a machine, so their latencies can be compared."""
    stop: StopRule = StopRule()
    bandit: BanditDesign | None = None

    @model_validator(mode="after")
    def _can_be_run(self) -> ExperimentDesign:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variant names repeat: {', '.join(sorted(names))}")
        if self.variants[0].weight == 0:
            raise ValueError("the first variant is the control; it needs a weight above 0")
        hours = [stage.after_hours for stage in self.ramp]
        shares = [stage.share for stage in self.ramp]
        if not hours or hours[0] != 0 or hours != sorted(set(hours)) or shares != sorted(shares):
            raise ValueError(
                "a ramp begins after 0 hours, and its hours and shares rise: a unit that is in "
                "must not fall out"
            )
        try:
            for name in (self.primary, *self.metrics):
                metric_named(name)
        except ExperimentError as error:
            raise ValueError(str(error)) from error
        for rail in self.guardrails:
            if rail.margin is not None and rail.metric in NO_MARGIN and self.pools == "shared":
                raise ValueError(
                    f"guardrail {rail.metric}: variants that share a machine contaminate each "
                    "other's latency, so a margin says nothing; set a limit, or pools: separate"
                )
        if self.bandit is not None:
            self._bandit_can_be_run(self.bandit)
        return self

    def _bandit_can_be_run(self, bandit: BanditDesign) -> None:
        if self.unit != "conversation":
            raise ValueError("a bandit changes shares under way: its unit must be conversation")
        if self.primary not in BANDIT_METRICS:
            raise ValueError(f"a bandit's primary metric is one of {', '.join(BANDIT_METRICS)}")
        if bandit.floor * len(self.arms) > 1:
            raise ValueError(f"a floor of {bandit.floor:g} does not fit {len(self.arms)} arms")

    @property
    def arms(self) -> tuple[VariantDesign, ...]:
        """The variants that answer users, the control first."""
        return tuple(one for one in self.variants if one.weight > 0)

    @property
    def control(self) -> str:
        return self.variants[0].name

    @property
    def challengers(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.arms[1:])

    @property
    def shadows(self) -> dict[str, float]:
        return {one.name: one.shadow for one in self.variants if one.shadow is not None}

    @property
    def weights(self) -> dict[str, float]:
        """Of all that answer users, as planned; the sum is 1."""
        whole = sum(one.weight for one in self.arms)
        return {one.name: one.weight / whole for one in self.arms}

    @property
    def salted(self) -> str:
        return self.salt or self.name


def parse_design(value: Mapping[str, Any], *, where: str) -> ExperimentDesign:
    """The design that a mapping describes; ``where`` begins the message of an error."""
    try:
        return ExperimentDesign.model_validate(value)
    except ValidationError as error:
        problem = first_problem(error).replace("Value error, ", "")
        raise ExperimentFileError(f"{where}: {problem}; change it") from error


def load_design(path: Path) -> ExperimentDesign:
    """The design in a YAML file. Raises ExperimentFileError with file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentFileError(f"experiment {path} cannot be read: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or error
        raise ExperimentFileError(f"{path}:{line}: not valid YAML: {problem}") from error
    if not isinstance(value, dict) or node is None:
        raise ExperimentFileError(f"{path}:1: an experiment is a mapping with name and variants")
    try:
        return ExperimentDesign.model_validate(value)
    except ValidationError as error:
        at = error.errors(include_url=False)[0]["loc"]
        line = _line_of(node, at)
        problem = first_problem(error).replace("Value error, ", "")
        raise ExperimentFileError(f"{path}:{line}: {problem}; change it") from error


def _line_of(node: Node, at: tuple[int | str, ...]) -> int:
    """The line of the innermost part of a location that the document has."""
    line = node.start_mark.line + 1
    for part in at:
        if isinstance(node, MappingNode):
            found = [(key, inner) for key, inner in node.value if key.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def design_schema() -> dict[str, Any]:
    """JSON Schema of an experiment's file, for editors."""
    return ExperimentDesign.model_json_schema()
