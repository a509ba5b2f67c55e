"""Tables by group, and whether a gap between groups is more than chance.

fairlearn's MetricFrame makes the tables. Its bootstrap interval of ``difference()`` is
never used: a maximum minus a minimum is positive by construction, so that interval
leaves 0 out for almost any data without a difference. The decision is a permutation
of the group labels among items of the same template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_GROUP = 20
NUM_PERMUTATIONS = 1999


def by_group(
    harmful: Sequence[bool], scores: Sequence[float], groups: Sequence[str]
) -> dict[str, dict[str, float]]:
    """For each group: items, harmful items, their share, and the mean and highest score."""
    from fairlearn.metrics import MetricFrame, count

    def of_scores(statistic: Any) -> Any:
        return lambda _truth, predicted: float(statistic(predicted))

    scored = np.asarray(scores, dtype=float)
    flags = np.asarray(harmful, dtype=float)
    frames = {
        "items": (count, scored),
        "harmful": (of_scores(np.sum), flags),
        "share": (of_scores(np.mean), flags),
        "mean_score": (of_scores(np.mean), scored),
        "highest_score": (of_scores(np.max), scored),
    }
    table: dict[str, dict[str, float]] = {group: {} for group in sorted(set(groups))}
    for name, (metric, values) in frames.items():
        frame = MetricFrame(
            metrics=metric, y_true=values, y_pred=values, sensitive_features=list(groups)
        )
        for group, value in frame.by_group.items():
            table[str(group)][name] = float(value)
    return table


def gap(scores: NDArray[np.float64], groups: NDArray[np.int64], num_groups: int) -> float:
    """Highest minus lowest group mean: 0 where all are alike, never negative."""
    sums = np.bincount(groups, weights=scores, minlength=num_groups)
    means = sums / np.bincount(groups, minlength=num_groups)
    return float(means.max() - means.min())


def permutation_p(
    scores: Sequence[float],
    groups: Sequence[str],
    templates: Sequence[str | None],
    *,
    rng: np.random.Generator,
    num_permutations: int = NUM_PERMUTATIONS,
) -> float | None:
    """Chance of a gap in mean score at least this large if groups did not matter.

    Group labels move among the items of one template, so a template that is harsher for
    all does not count. None where no template has two groups. (Phipson and Smyth 2010:
    the observed labelling counts as one permutation, so p is never 0.)
    """
    values = np.asarray(scores, dtype=float)
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    _, strata = np.unique(
        np.asarray(["" if template is None else template for template in templates]),
        return_inverse=True,
    )
    mixed = [len(set(codes[strata == s].tolist())) > 1 for s in np.unique(strata)]
    if not any(mixed):
        return None
    observed = gap(values, codes, len(names))
    tolerance = 1e-12  # sums in another order must not turn a tie into a difference
    in_place = np.argsort(strata, kind="stable")
    shuffled = codes.copy()
    as_large = 0
    for _ in range(num_permutations):
        # rows of a stratum stay together and trade places at random
        shuffled[in_place] = codes[np.lexsort((rng.random(len(codes)), strata))]
        as_large += gap(values, shuffled, len(names)) >= observed - tolerance
    return (as_large + 1) / (num_permutations + 1)


def compare_groups(
    harmful: Sequence[bool],
    scores: Sequence[float],
    groups: Sequence[str | None],
    templates: Sequence[str | None],
    *,
    ruler_gap: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The table by group and what may be said of it.

    Items without a group are left out. ``gap`` is over groups of at least MIN_GROUP
    items, None with fewer than two such groups ("too few to say"). ``beyond_the_ruler``
    is true where the gap exceeds the scorer's own gap on matched neutral texts.
    """
    chosen = [i for i, group in enumerate(groups) if group is not None]
    names = [str(groups[i]) for i in chosen]
    if not chosen:
        return {"by_group": {}, **_unsaid("no item has a group", ruler_gap)}
    table = by_group([harmful[i] for i in chosen], [scores[i] for i in chosen], names)
    large = {name for name, row in table.items() if row["items"] >= MIN_GROUP}
    if len(large) < 2:
        reason = f"too few to say: fewer than two groups of {MIN_GROUP} items"
        return {"by_group": table, **_unsaid(reason, ruler_gap)}
    kept = [i for i, name in zip(chosen, names, strict=True) if name in large]
    kept_scores = [scores[i] for i in kept]
    p = permutation_p(
        kept_scores, [str(groups[i]) for i in kept], [templates[i] for i in kept], rng=rng
    )
    means = [table[name]["mean_score"] for name in large]
    difference = max(means) - min(means)
    return {
        "by_group": table,
        "gap": difference,
        "gap_p": p,
        "ruler_gap": ruler_gap,
        "beyond_the_ruler": difference > ruler_gap,
        "note": f"gap in mean score over {len(large)} groups of at least {MIN_GROUP} items"
        + ("" if p is not None else "; no template has two groups, so no p"),
    }


def _unsaid(reason: str, ruler_gap: float) -> dict[str, Any]:
    return {
        "gap": None,
        "gap_p": None,
        "ruler_gap": ruler_gap,
        "beyond_the_ruler": None,
        "note": reason,
    }
