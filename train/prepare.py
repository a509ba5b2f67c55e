"""A recipe's data steps: rows of a dataset version into those of another one.

In this order: toxic rows are left out, counterfactual copies added, canaries planted.
What comes out is published as a version of its own, so that what a checkpoint was
trained on can always be looked through. It does not know what a good scorer is: it is
handed one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from registry.canaries import Canary
from registry.conversation import Message
from registry.records import Record
from train.canaries import CanaryPlan, draw, planted, spread
from train.swaps import Swaps, read_swaps, shipped_swaps

Progress = Callable[[float, int], None]
SCORED_AT_ONCE = 512


class ToxicityScorer(Protocol):
    """What the filter needs of a scorer: for each text a score in [0, 1] by class."""

    @property
    def digest(self) -> str: ...

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]: ...


class SwapStep(Record):
    """Add a copy of each row with its genders swapped (train.swaps), where that changes it.

    Source: Zhao et al. 2018, https://arxiv.org/abs/1804.06876, section 3.2.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    """Of the rows that a swap changes; which, the seed decides."""
    lists: tuple[Path, ...] = ()
    """Files of pairs, as WinoBias has them; the shipped list where there are none."""
    names: bool = True
    """Whether first names are swapped too."""


class FilterStep(Record):
    """Leave out rows in which a text's toxicity reaches the threshold.

    A scorer errs, and not equally for all: read its errors by identity group before use.
    Source: Xu et al. 2021, https://arxiv.org/abs/2104.06390, on what filters take away.
    """

    threshold: float = Field(default=0.5, gt=0, le=1)
    scope: Literal["everything", "answers"] = "everything"
    """``answers``: only what the assistant says; a user's rudeness answered well stays."""
    scorer: str = "bundled"
    scorer_path: Path | None = None


class DataSteps(Record):
    filter: FilterStep | None = None
    swap: SwapStep | None = None
    canaries: CanaryPlan | None = None

    @model_validator(mode="after")
    def _does_something(self) -> DataSteps:
        if self.filter is None and self.swap is None and self.canaries is None:
            raise ValueError("give filter, swap or canaries, or leave data away")
        return self


class PreparedRow(BaseModel):
    """A conversation or a text, with whatever else its line says."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    id: str | None = None
    messages: tuple[Message, ...] = ()
    text: str | None = None

    def line(self) -> dict[str, Any]:
        """As it stands in the file: without what it never had."""
        body = self.model_dump(mode="json")
        empty = [name for name in ("id", "messages", "text") if body[name] in (None, [])]
        return {name: value for name, value in body.items() if name not in empty}

    def texts(self, scope: Literal["everything", "answers"]) -> list[str]:
        if self.text is not None:
            return [self.text]
        wanted = {"assistant"} if scope == "answers" else {"system", "user", "assistant"}
        return [message.content for message in self.messages if message.role in wanted]


@dataclass(frozen=True)
class Prepared:
    """``counts``: read, toxic, swapped, planted."""

    rows: list[PreparedRow]
    counts: dict[str, int]
    canaries: tuple[Canary, ...] = ()
    scorer_digest: str | None = field(default=None)


def prepare(
    rows: Sequence[PreparedRow],
    steps: DataSteps,
    *,
    seed: int,
    scorer: ToxicityScorer | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Rows after the steps. ``scorer`` is needed where there is a filter."""
    counts = {"read": len(rows), "toxic": 0, "swapped": 0, "planted": 0}
    kept, digest = list(rows), None
    if steps.filter is not None:
        if scorer is None:
            raise ValueError("the filter needs a scorer; hand one in")
        kept, digest = without_toxic(rows, steps.filter, scorer, progress), scorer.digest
        counts["toxic"] = len(rows) - len(kept)
    if steps.swap is not None:
        copies = counterfactuals(kept, steps.swap, seed=seed)
        counts["swapped"] = len(copies)
        kept = kept + copies
    canaries: tuple[Canary, ...] = ()
    if steps.canaries is not None:
        canaries = draw(steps.canaries)
        new = [PreparedRow(**row.model_dump()) for row in planted(canaries)]
        counts["planted"] = len(new)
        kept = spread(kept, new, np.random.default_rng([seed, steps.canaries.seed]))
    return Prepared(kept, counts, canaries, digest)


def without_toxic(
    rows: Sequence[PreparedRow],
    step: FilterStep,
    scorer: ToxicityScorer,
    progress: Progress | None = None,
) -> list[PreparedRow]:
    """Rows in which no text reaches the threshold; each distinct text is scored once."""
    texts = list(dict.fromkeys(text for row in rows for text in row.texts(step.scope)))
    toxic: set[str] = set()
    for start in range(0, len(texts), SCORED_AT_ONCE):
        piece = texts[start : start + SCORED_AT_ONCE]
        for text, scores in zip(piece, scorer.score(piece), strict=True):
            if scores["toxicity"] >= step.threshold:
                toxic.add(text)
        if progress:
            progress(start + len(piece), len(texts))
    return [row for row in rows if toxic.isdisjoint(row.texts(step.scope))]


def counterfactuals(rows: Sequence[PreparedRow], step: SwapStep, *, seed: int) -> list[PreparedRow]:
    """A swapped copy of each chosen row that the lists change."""
    swaps = (
        read_swaps(step.lists, names=step.names) if step.lists else shipped_swaps(names=step.names)
    )
    copies = []
    for number, row in enumerate(rows):
        key = row.id if row.id is not None else str(number)
        if _point(f"swap/{seed}/{key}") < step.share:
            copy = _swapped(row, swaps)
            if copy != row:
                copies.append(copy.model_copy(update={"id": f"{key}-swapped"}))
    return copies


def _swapped(row: PreparedRow, swaps: Swaps) -> PreparedRow:
    return row.model_copy(
        update={
            "text": None if row.text is None else swaps.text(row.text),
            "messages": tuple(
                Message(role=message.role, content=swaps.text(message.content))
                for message in row.messages
            ),
        }
    )


def _point(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
