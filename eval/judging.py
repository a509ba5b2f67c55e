"""What must be said of a judge, or of people's ratings, before their word counts: settings.

The checks that use them are ``eval.judged`` and ``eval.ratings``; the rows stand in
``eval.checks``.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, computed_field, model_validator

from eval.endpoint import Endpoint, JudgeEndpoint
from registry.records import Record

Level = Literal["nominal", "ordinal", "interval", "ratio"]


class JudgedQualityConfig(Record):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: Path
    """JSONL of conversations; the last assistant message is the reference."""
    metric: Literal[
        "faithfulness",
        "answer_relevancy",
        "factual_correctness",
        "context_utilization",
        "context_precision",
        "context_recall",
    ]
    """Contexts are ``tags["contexts"]``, a text or a list, else the system message. The last
    two compare contexts with the reference: they judge the data, not the answer."""
    judge: JudgeEndpoint
    embeddings: Endpoint | None = None
    """Of ``answer_relevancy`` alone."""
    calibration: Path | None = None
    """JSONL of ``{"item", "judge", "human"}``, values in [0, 1]: what the judge's errors are
    measured and corrected by."""
    threshold: float | None = Field(default=None, gt=0, le=1)
    """With a calibration: at least this is a pass, of the judge and of people."""
    max_items: int | None = Field(default=None, ge=1)
    last_messages: int | None = Field(default=None, ge=1)
    """How many messages before the answer are shown, a leading system message besides."""
    max_tokens: int = Field(default=96, ge=1)
    """Of the answer."""

    @model_validator(mode="after")
    def _complete(self) -> JudgedQualityConfig:
        if (self.metric == "answer_relevancy") != (self.embeddings is not None):
            raise ValueError(
                "answer_relevancy compares questions by their embeddings, the other metrics do "
                "not: set embeddings (base_url, model, api_key_env) for it and for it alone"
            )
        if (self.calibration is None) != (self.threshold is None):
            raise ValueError("set both calibration and threshold, or neither")
        return self

    def num_items(self) -> int:
        """Rows of ``data``, whatever the calibration holds."""
        with self.data.open("rb") as lines:
            return sum(1 for line in lines if line.strip())

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def prompts(self) -> str:
        """Whose prompts the judge is asked with: another version asks other questions."""
        return f"ragas {importlib.metadata.version('ragas')}"


class HumanRatingsConfig(Record):
    ratings: Path
    """JSONL or CSV: item, rater, score, checkpoint; cluster and group where there are any."""
    scale_min: float
    scale_max: float
    """The worst and the best score that raters could give; items are shares of the scale."""
    level: Level = "ordinal"
    """Level of measurement: what a distance between two scores means to Krippendorff's alpha."""
    min_raters: int = Field(default=2, ge=1)
    """Items with fewer are unscored."""
    min_agreement: float | None = Field(default=None, gt=-1, le=1)
    """Alpha that the raters must reach; below it no item is scored, so the entry is INVALID."""
    seed: int = 0
    """Of the bootstrap over items behind alpha's interval."""

    def num_items(self) -> int:
        """Items that the ratings are of; raises RatingsError where the file is malformed."""
        from eval.ratings import read_ratings

        rows = read_ratings(self.ratings, scale=(self.scale_min, self.scale_max))
        return len({rating.item for rating in rows})

    @model_validator(mode="after")
    def _a_scale(self) -> HumanRatingsConfig:
        if self.scale_min >= self.scale_max:
            raise ValueError(
                f"scale_min {self.scale_min:g} must lie below scale_max {self.scale_max:g}"
            )
        if self.level == "ratio" and self.scale_min < 0:
            raise ValueError("level ratio needs a scale whose zero means none: scale_min >= 0")
        if self.min_agreement is not None and self.min_raters < 2:
            raise ValueError("min_agreement needs min_raters of at least 2")
        return self
