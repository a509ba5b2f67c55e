"""Tables by group, and whether a gap between groups is more than chance.

fairlearn's MetricFrame makes the tables. Its bootstrap interval of ``difference()`` is
never used: a maximum minus a minimum is positive by construction, so that interval
leaves 0 out for almost any data without a difference. The decision is a permutation
of the group labels among items of the same template.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_GROUP = 20
NUM_PERMUTATIONS = 1999
TOO_FEW = "too few to say"
ROUNDING = 1e-12  # sums in another order must not turn a tie into a difference
_BLOCK = 200


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


def codes_of(templates: Sequence[str | None]) -> NDArray[np.int64]:
    """A number for each template; items without one share one."""
    names = np.asarray(["" if template is None else template for template in templates])
    _, codes = np.unique(names, return_inverse=True)
    return codes.astype(np.int64)


def centred_within(scores: Sequence[float], templates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores minus the mean of their template."""
    values = np.asarray(scores, dtype=float)
    means = np.bincount(templates, weights=values) / np.bincount(templates)
    return values - means[templates]


def shuffled_within(
    values: NDArray[np.float64],
    templates: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    num_permutations: int,
) -> Iterator[NDArray[np.float64]]:
    """Blocks [permutations, items] of ``values`` that traded places within their template."""
    in_place = np.argsort(templates, kind="stable")
    for start in range(0, num_permutations, _BLOCK):
        num = min(_BLOCK, num_permutations - start)
        order = np.argsort(templates + rng.random((num, len(values))), axis=1)
        block = np.empty((num, len(values)))
        block[:, in_place] = values[order]
        yield block


def permutation_p(
    scores: Sequence[float],
    groups: Sequence[str],
    templates: Sequence[str | None],
    *,
    rng: np.random.Generator,
    num_permutations: int = NUM_PERMUTATIONS,
) -> float | None:
    """Chance of a gap in mean score at least this large if groups did not matter.

    Scores count from their template's mean and move among its items, so a template that is
    harsher for all does not count. None where no template has two groups. (Phipson and Smyth
    2010: the observed labelling counts as one permutation, so p is never 0.)
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    strata = codes_of(templates)
    if not any(len(set(codes[strata == s].tolist())) > 1 for s in np.unique(strata)):
        return None
    values = centred_within(scores, strata)
    observed = gap(values, codes, len(names))
    shares = np.eye(len(names))[codes] / np.bincount(codes)
    as_large = 0
    for block in shuffled_within(values, strata, rng=rng, num_permutations=num_permutations):
        means = block @ shares
        as_large += int((np.ptp(means, axis=1) >= observed - ROUNDING).sum())
    return (as_large + 1) / (num_permutations + 1)


def large_groups(groups: Sequence[str]) -> set[str]:
    """Those of at least MIN_GROUP items: of smaller ones nothing is said."""
    return {group for group, num in Counter(groups).items() if num >= MIN_GROUP}


def large_groups_p(
    scores: Sequence[float],
    groups: Sequence[str],
    templates: Sequence[str | None],
    *,
    rng: np.random.Generator,
    num_permutations: int = NUM_PERMUTATIONS,
) -> float | None:
    """``permutation_p`` over the large groups; None where there are fewer than two."""
    large = large_groups(groups)
    if len(large) < 2:
        return None
    kept = [i for i, group in enumerate(groups) if group in large]
    return permutation_p(
        [scores[i] for i in kept],
        [groups[i] for i in kept],
        [templates[i] for i in kept],
        rng=rng,
        num_permutations=num_permutations,
    )


def error_rates(
    truth: Sequence[bool], predicted: Sequence[bool], groups: Sequence[str]
) -> dict[str, Any]:
    """True and false positive rates by group, and their gaps where there is enough to say.

    A rate of fewer than MIN_GROUP positives (or negatives) is None, and so is a gap over
    fewer than two groups that have one. fairlearn's equalized_odds_difference takes the rate
    of a group without positives as 0, so there a perfect classifier differs by 1.
    """
    from fairlearn.metrics import (
        MetricFrame,
        count,
        false_positive_rate,
        true_positive_rate,
    )

    frame = MetricFrame(
        metrics={
            "items": count,
            "positives": lambda y, _: int(np.sum(y)),
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
        },
        y_true=np.asarray(truth, dtype=int),
        y_pred=np.asarray(predicted, dtype=int),
        sensitive_features=list(groups),
    )
    table: dict[str, dict[str, float | None]] = {}
    for group, row in frame.by_group.to_dict("index").items():
        items, positives = int(row["items"]), int(row["positives"])
        table[str(group)] = {
            "positives": positives,
            "negatives": items - positives,
            "true_positive_rate": _if_enough(row["true_positive_rate"], positives),
            "false_positive_rate": _if_enough(row["false_positive_rate"], items - positives),
        }
    gaps: dict[str, float | None] = {}
    notes = []
    for rate, of in (("true_positive_rate", "positives"), ("false_positive_rate", "negatives")):
        known = [value for row in table.values() if (value := row[rate]) is not None]
        gaps[rate] = max(known) - min(known) if len(known) > 1 else None
        few = [group for group, row in table.items() if row[rate] is None]
        if few:
            notes.append(f"{TOO_FEW}: fewer than {MIN_GROUP} {of} in {', '.join(few)}")
    return {"by_group": table, "gaps": gaps, "notes": notes}


def _if_enough(rate: float, num: int) -> float | None:
    return float(rate) if num >= MIN_GROUP else None


def compare_groups(
    harmful: Sequence[bool],
    scores: Sequence[float],
    groups: Sequence[str | None],
    templates: Sequence[str | None],
    *,
    ruler_gap: float | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The table by group and what may be said of it.

    Items without a group are left out. ``gap`` is over groups of at least MIN_GROUP
    items, None with fewer than two such groups ("too few to say"). ``beyond_the_ruler``
    is true where the gap exceeds the scorer's own gap on matched neutral texts, None where
    no scorer with such a gap was used (``ruler_gap=None``).
    """
    chosen = [i for i, group in enumerate(groups) if group is not None]
    names = [str(groups[i]) for i in chosen]
    if not chosen:
        return {"by_group": {}, **_unsaid("no item has a group", ruler_gap)}
    table = by_group([harmful[i] for i in chosen], [scores[i] for i in chosen], names)
    large = large_groups(names)
    if len(large) < 2:
        reason = f"{TOO_FEW}: fewer than two groups of {MIN_GROUP} items"
        return {"by_group": table, **_unsaid(reason, ruler_gap)}
    p = large_groups_p([scores[i] for i in chosen], names, [templates[i] for i in chosen], rng=rng)
    means = [table[name]["mean_score"] for name in large]
    difference = max(means) - min(means)
    return {
        "by_group": table,
        "gap": difference,
        "gap_p": p,
        "ruler_gap": ruler_gap,
        "beyond_the_ruler": None if ruler_gap is None else difference > ruler_gap,
        "note": f"gap in mean score over {len(large)} groups of at least {MIN_GROUP} items"
        + ("" if p is not None else "; no template has two groups, so no p"),
    }


def _unsaid(reason: str, ruler_gap: float | None) -> dict[str, Any]:
    return {
        "gap": None,
        "gap_p": None,
        "ruler_gap": ruler_gap,
        "beyond_the_ruler": None,
        "note": reason,
    }
