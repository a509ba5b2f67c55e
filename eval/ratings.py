"""What people gave a checkpoint's answers: a ratings file becomes evidence, with its agreement.

A rating belongs to the answer of one checkpoint, so every row names the weights digest
that it rates; the rows of other checkpoints in the same file are left alone. No model is
run. It does not know the questions or the answers: the file holds names only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from eval.checks import Measured
from eval.judging import HumanRatingsConfig, Level
from eval.runner import Runner
from eval.stats import exact
from registry.evidence import Item
from registry.records import Record, UserError, digest_of, first_problem, short

NUM_RESAMPLES = 1000


class RatingsError(UserError):
    """A ratings file cannot be used as it stands: the message names file, line and value."""


class Rating(Record):
    """One rater's score of one checkpoint's answer to one item."""

    item: str = Field(min_length=1)
    rater: str = Field(min_length=1)
    score: Annotated[float, Field(strict=True)]
    checkpoint: str = Field(pattern=r"^(sha256:)?[0-9a-f]{12,64}$")
    """The weights digest, or its first twelve hex digits or more."""
    cluster: str | None = None
    group: str | None = None


def measure(runner: Runner, config: HumanRatingsConfig) -> Measured:
    """One item for every item of the file, so that both sides of a comparison have the same.

    Raises RatingsError for a file that cannot be read or contradicts itself.
    """
    weights = runner.facts.weights_digest
    rows = read_ratings(config.ratings, scale=(config.scale_min, config.scale_max))
    scores: dict[str, list[float]] = {rating.item: [] for rating in rows}
    raters = set()
    for rating in rows:
        if weights.removeprefix("sha256:").startswith(rating.checkpoint.removeprefix("sha256:")):
            scores[rating.item].append(rating.score)
            raters.add(rating.rater)
    alpha, interval, undefined = agreement(
        list(scores.values()), config.level, rng=np.random.default_rng(config.seed)
    )
    refused = _refused(rows, scores, weights, config, alpha, undefined)
    labels = _labels(config.ratings, rows)
    items = []
    for name, given in scores.items():
        value, reason = _mean(given, config)
        items.append(
            Item(
                key=name,
                content_hash=digest_of(["rated item", name]),
                value=None if refused else value,
                unscored=refused or reason,
                cluster=labels[name][0],
                group=labels[name][1],
            )
        )
    values = [item.value for item in items if item.value is not None]
    low, high = interval or (None, None)
    return Measured(
        tuple(items),
        summary={
            "mean_share_of_scale": sum(values) / len(values) if values else None,
            "ratings": float(sum(map(len, scores.values()))),
            "raters": float(len(raters)),
            "alpha": alpha,
            "alpha_low": low,
            "alpha_high": high,
        },
        tables={
            "agreement": {
                "level": config.level,
                "alpha": alpha,
                "low": low,
                "high": high,
                "asked for": config.min_agreement,
                "note": undefined
                or "Krippendorff's alpha over items with two or more raters; 95% bootstrap "
                "interval over items; 1 is full agreement, 0 what chance gives",
            }
        },
    )


def _mean(scores: Sequence[float], config: HumanRatingsConfig) -> tuple[float | None, str | None]:
    """The mean as a share of the scale, or why there is none."""
    if not scores:
        return None, "nobody rated this checkpoint's answer"
    if len(scores) < config.min_raters:
        return None, f"rated by {len(scores)}, min_raters is {config.min_raters}"
    low, high = exact(config.scale_min), exact(config.scale_max)
    mean = sum((exact(score) for score in scores), Fraction(0)) / len(scores)
    return float((mean - low) / (high - low)), None


def _refused(
    rows: Sequence[Rating],
    scores: Mapping[str, Sequence[float]],
    weights: str,
    config: HumanRatingsConfig,
    alpha: float | None,
    undefined: str | None,
) -> str | None:
    """Why no item counts; None where they do."""
    if not any(scores.values()):
        rated = sorted({rating.checkpoint.removeprefix("sha256:")[:12] for rating in rows})
        return f"no rating of {short(weights)}; the file rates {', '.join(rated[:5])}"
    if config.min_agreement is None:
        return None
    if alpha is None:
        return f"the raters' agreement is not known: {undefined}"
    if alpha < config.min_agreement:
        return (
            f"the raters agree too little: Krippendorff's alpha {alpha:.3f}, "
            f"{config.min_agreement:g} is asked for"
        )
    return None


def agreement(
    scores: Sequence[Sequence[float]],
    level: Level,
    *,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[float | None, tuple[float, float] | None, str | None]:
    """Krippendorff's alpha, its 95% percentile interval from resampled items, or why not.

    ``scores`` holds each item's ratings in any order; items with fewer than two say
    nothing about agreement. Resamples in which all ratings are equal have no alpha and are
    left out. Raises RatingsError where the library is not installed.
    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
    """
    try:
        import krippendorff
    except ImportError as error:
        raise RatingsError(
            "agreement of raters needs the library krippendorff, which is under GPL-3.0 and "
            "therefore an extra: pip install 'hallmark-gate[ratings]'"
        ) from error

    units = [given for given in scores if len(given) >= 2]
    domain = sorted({score for given in units for score in given})
    if not units:
        return None, None, "no item has two raters"
    if len(domain) < 2:
        return None, None, "all ratings are equal, so no chance agreement can be computed"
    # U = units, V = distinct values
    counts_UV = np.array([[given.count(value) for value in domain] for given in units])

    def alpha_of(counts: Any) -> float | None:
        if (counts.sum(axis=0) > 0).sum() < 2:
            return None
        found = krippendorff.alpha(
            value_counts=counts, value_domain=domain, level_of_measurement=level
        )
        return float(found)

    draws = rng.integers(0, len(units), size=(num_resamples, len(units)))
    resampled = [alpha for draw in draws if (alpha := alpha_of(counts_UV[draw])) is not None]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return alpha_of(counts_UV), (float(low), float(high)), None


def read_ratings(path: Path, *, scale: tuple[float, float]) -> list[Rating]:
    """All rows of a JSONL or CSV file, every score within ``scale``.

    Raises RatingsError naming file and line: malformed rows, scores off the scale, and a
    rater who rates the same answer twice.
    """
    low, high = scale
    rows: list[Rating] = []
    seen: dict[tuple[str, str, str], int] = {}
    for line, raw in _raw_rows(path):
        try:
            rating = Rating.model_validate(raw)
        except ValidationError as error:
            raise RatingsError(
                f"{path}:{line}: {_complaint(error)}; a row has item, rater, score, checkpoint "
                "(the weights digest), and may have cluster and group"
            ) from None
        if not low <= rating.score <= high:
            raise RatingsError(
                f"{path}:{line}: score {rating.score:g} lies off the scale {low:g} to {high:g}"
            )
        rated = rating.checkpoint.removeprefix("sha256:")[:12]
        before = seen.setdefault((rating.item, rating.rater, rated), line)
        if before != line:
            raise RatingsError(
                f"{path}:{line}: rater {rating.rater!r} rated item {rating.item!r} of {rated} in "
                f"line {before} already; keep one"
            )
        rows.append(rating)
    if not rows:
        raise RatingsError(f"{path} has no ratings; give at least one row")
    return rows


def _complaint(error: ValidationError) -> str:
    """The first complaint with the value that it is about."""
    first = error.errors(include_url=False)[0]
    if first["type"] in {"missing", "extra_forbidden"}:
        return first_problem(error)
    return f"{first_problem(error)}, got {str(first['input'])[:80]!r}"


def _raw_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, row as written) of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RatingsError(f"ratings {path} cannot be read: {error}") from error
    if path.suffix == ".csv":
        yield from _csv_rows(path, text)
        return
    for line, written in enumerate(text.split("\n"), start=1):
        if written.strip():
            try:
                yield line, json.loads(written)
            except ValueError as error:
                raise RatingsError(
                    f"{path}:{line}: not a JSON object ({error}); ratings are JSONL, or CSV in a "
                    "file that ends in .csv"
                ) from None


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            line = reader.line_num
            if None in cells:
                raise RatingsError(f"{path}:{line}: more cells than the header has columns")
            row: dict[str, Any] = {k: v for k, v in cells.items() if v not in {None, ""}}
            if "score" in row:
                try:
                    row["score"] = float(row["score"])
                except ValueError:
                    raise RatingsError(
                        f"{path}:{line}: score {row['score']!r} is not a number"
                    ) from None
            yield line, row
    except csv.Error as error:
        raise RatingsError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error


def _labels(path: Path, rows: Sequence[Rating]) -> dict[str, tuple[str | None, str | None]]:
    """Cluster and group of each item, which must be the same in all of its rows."""
    labels: dict[str, tuple[str | None, str | None]] = {}
    for rating in rows:
        mine = (rating.cluster, rating.group)
        if labels.setdefault(rating.item, mine) != mine:
            raise RatingsError(
                f"{path}: item {rating.item!r} has (cluster, group) {labels[rating.item]} in one "
                f"row and {mine} in another; give all its rows the same"
            )
    return labels
