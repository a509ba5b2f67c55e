"""Recipes: everything that decides a training but the data, the parent and the seed.

A recipe is a YAML file below ``train/recipes`` (by name) or anywhere (by path). Unknown
keys are errors that say what is allowed there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from registry.records import Record, UserError
from train.canaries import CanaryPlan
from train.model import Precision, Shape
from train.optim import OptimizerRecipe
from train.prepare import DataSteps, FilterStep, SwapStep

RECIPES = Path(__file__).parent / "recipes"


class RecipeError(UserError):
    """The recipe cannot be used: unknown name or key, or a value out of its bounds."""


class Schedule(Record):
    """Warm-up, constant, linear decay to ``final`` of the peak (WSD), in shares of the training.

    Source: Hu et al. 2024, MiniCPM, https://arxiv.org/abs/2404.06395, section 4.
    """

    warmup: float = Field(default=0.05, ge=0, le=1)
    decay: float = Field(default=0.5, ge=0, le=1)
    final: float = Field(default=0.0, ge=0, le=1)

    def scale(self, done: float) -> float:
        """Share of the peak rate once ``done`` in [0, 1) of the training is done."""
        if done < self.warmup:
            return max(done / self.warmup, 0.01)
        if self.decay and done > 1 - self.decay:
            return self.final + (1 - self.final) * max(1 - done, 0.0) / self.decay
        return 1.0


class Validation(Record):
    """When and on how much to measure; ``patience`` evaluations without gain end the training."""

    every_steps: int = Field(default=100, ge=1)
    max_tokens: int = Field(default=16_384, ge=64)
    patience: int | None = Field(default=None, ge=1)


class Preference(Record):
    """How a ``prefer`` training weighs things.

    ``sft_weight`` is of the likelihood of what people preferred; ``mix_weight`` of that of
    ``mix_tokens`` a step of ordinary conversations, which keep the answers right.
    """

    objective: Literal["dpo", "kto"]
    beta: float = Field(default=0.1, gt=0)
    sft_weight: float = Field(default=0.0, ge=0)
    desirable_weight: float = Field(default=1.0, gt=0)
    undesirable_weight: float = Field(default=1.0, gt=0)
    mix_weight: float = Field(default=0.0, ge=0)
    mix_tokens: int = Field(default=2048, ge=64)


class Recipe(Record):
    """One training. ``shape`` is given for ``pretrain`` and comes from the parent otherwise."""

    schema_version: Literal[1] = 1
    stage: Literal["pretrain", "sft", "prefer"]
    shape: Shape | None = None
    optimizer: OptimizerRecipe = OptimizerRecipe()
    schedule: Schedule = Schedule()
    validation: Validation = Validation()
    prefer: Preference | None = None
    data: DataSteps | None = None
    """What is done to the rows before they are learnt from, as a dataset version of its own."""
    steps: int = Field(ge=1)
    tokens_per_batch: int = Field(ge=64)
    max_seconds: float | None = Field(default=None, gt=0)
    save_every_seconds: float = Field(default=60.0, gt=0)
    keep_last: int = Field(default=0, ge=0, le=8)
    """The newest so many snapshots are published beside the checkpoint (registry.snapshots)."""
    keep_every_steps: int | None = Field(default=None, ge=1)
    """Steps from one snapshot to the next; the weights that are published themselves are none."""
    precision: Precision = "bf16"
    store_dtype: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    shard: bool = False
    track: bool = True

    @model_validator(mode="after")
    def _fits_its_stage(self) -> Recipe:
        if (self.stage == "pretrain") != (self.shape is not None):
            raise ValueError("shape: needed for stage pretrain, and only there")
        if (self.stage == "prefer") != (self.prefer is not None):
            raise ValueError("prefer: needed for stage prefer, and only there")
        if self.stage == "prefer" and self.data is not None:
            raise ValueError("data: for stages pretrain and sft; pairs and labels stay as they are")
        if (self.keep_last > 0) != (self.keep_every_steps is not None):
            raise ValueError("set both keep_last and keep_every_steps, or neither")
        return self


def recipe_names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of that name, or at that path. Raises RecipeError."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if str(name_or_path) not in recipe_names():
            raise RecipeError(
                f"no recipe named {str(name_or_path)!r}; have {', '.join(recipe_names())}, "
                "or give the path of a .yaml file"
            )
        path = RECIPES / f"{name_or_path}.yaml"
    try:
        body = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {path} is not valid YAML: {error}") from error
    if not isinstance(body, dict):
        raise RecipeError(f"recipe {path} must be a mapping of keys; see train/recipes")
    try:
        return Recipe.model_validate(body)
    except ValidationError as error:
        raise RecipeError(f"recipe {path}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    """The first problem: the key, the value, and what is allowed there."""
    problem = error.errors()[0]
    place = tuple(problem["loc"])
    key = ".".join(str(part) for part in place)
    if problem["type"] == "extra_forbidden":
        allowed = ", ".join(sorted(_model_at(place[:-1]).model_fields))
        return f"unknown key {key!r}; allowed here: {allowed}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    value = "" if not place else f" (got {problem['input']!r})"
    return f"{key + ': ' if key else ''}{problem['msg']}{value}"


def _model_at(place: tuple[int | str, ...]) -> type[Record]:
    model: Any = Recipe
    parts = {
        "shape": Shape, "optimizer": OptimizerRecipe, "schedule": Schedule,
        "validation": Validation, "prefer": Preference, "data": DataSteps,
        "filter": FilterStep, "swap": SwapStep, "canaries": CanaryPlan,
    }  # fmt: skip
    for part in place:
        model = parts.get(str(part), model)
    return model  # type: ignore[no-any-return]  # a Record class, looked up by name
