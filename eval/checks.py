"""What can be measured: one row per check. Nothing registers itself at import.

A check's ``measure`` gets a runner and its validated configuration and returns the
items, with side figures that reports show and nobody judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from eval.runner import Runner
from registry.evidence import Item

# How a check's items are compared (statistics in eval.stats):
#   binary          values in {0, 1}: Tango paired, Clopper-Pearson alone
#   numeric         values on a scale: paired t, cluster-t where clusters repeat
#   bits_per_byte   value = bits, weight = bytes: delete-one jackknife of the ratio
#   rare_harm       values in {0, 1} where 1 is harm: Clopper-Pearson upper bound on a budget
Kind = Literal["binary", "numeric", "bits_per_byte", "rare_harm"]

Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class Measured:
    """What one measurement gives: the items, and figures and tables beside them."""

    items: tuple[Item, ...]
    summary: Mapping[str, float | None] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One thing that can be measured. ``config`` is a pydantic model with extra="forbid";
    its fields of type ``Path`` are the files the check reads, whose digests go into
    the configuration digest. ``zero`` says what an estimate of zero means.
    """

    name: str
    measure: Callable[[Runner, Any], Measured]
    config: type[BaseModel]
    kind: Kind
    higher_is_better: bool
    unit: str
    bounds: tuple[float | None, float | None]
    zero: str
    source: str
