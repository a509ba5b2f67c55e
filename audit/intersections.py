"""Two attributes at once: who is treated differently at their intersection.

The table is fairlearn's MetricFrame with two sensitive features. Every cell (say, deaf
women) of at least MIN_GROUP items is compared with the rest within template, by permutation,
with Holm over the cells; of a smaller one it says that it is too few to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from audit.parity import (
    MIN_GROUP,
    NUM_PERMUTATIONS,
    ROUNDING,
    TOO_FEW,
    centred_within,
    codes_of,
    large_groups,
    shuffled_within,
)
from eval.stats import holm


def by_cell(
    harmful: Sequence[bool], scores: Sequence[float], first: Sequence[str], second: Sequence[str]
) -> dict[tuple[str, str], dict[str, Any]]:
    """For each pair of values that occurs: items, harmful items, their share, mean score."""
    from fairlearn.metrics import MetricFrame, count

    flags = np.asarray(harmful, dtype=float)
    frame = MetricFrame(
        metrics={
            "items": count,
            "harmful": lambda y, _: float(np.sum(y)),
            "share": lambda y, _: float(np.mean(y)),
            "mean_score": lambda _, score: float(np.mean(score)),
        },
        y_true=flags,
        y_pred=np.asarray(scores, dtype=float),
        sensitive_features={"first": list(first), "second": list(second)},
    )
    occurring = set(zip(first, second, strict=True))
    return {
        (str(one), str(other)): {name: float(value) for name, value in row.items()}
        for (one, other), row in frame.by_group.to_dict("index").items()
        if (one, other) in occurring
    }


def against_the_rest(
    scores: Sequence[float],
    groups: Sequence[str],
    templates: Sequence[str | None],
    *,
    rng: np.random.Generator,
    num_permutations: int = NUM_PERMUTATIONS,
) -> dict[str, tuple[float, float]]:
    """Each group's mean score minus that of all others within template, and its two-sided p.

    Templates weigh by n_g * n_rest / n, as in Mantel and Haenszel 1959 (J Natl Cancer Inst
    22:719-748). A group that is nowhere beside another is left out. p is by permutation
    within template, not adjusted for the number of groups.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    strata = codes_of(templates)
    sizes = np.bincount(strata)
    centred = centred_within(scores, strata)
    member = np.eye(len(names))[codes]
    in_template = np.zeros((len(sizes), len(names)))
    np.add.at(in_template, strata, member)
    weights = (in_template * (sizes[:, None] - in_template) / sizes[:, None]).sum(axis=0)
    sums = centred @ member
    as_large = np.zeros(len(names))
    for block in shuffled_within(centred, strata, rng=rng, num_permutations=num_permutations):
        as_large += (np.abs(block @ member) >= np.abs(sums) - ROUNDING).sum(axis=0)
    p = (as_large + 1) / (num_permutations + 1)
    return {
        str(name): (float(sums[i] / weights[i]), float(p[i]))
        for i, name in enumerate(names)
        if weights[i] > 0
    }


@dataclass(frozen=True)
class Contrast:
    """A group against the rest within template; ``p_holm`` is over all groups compared."""

    difference: float
    p: float
    p_holm: float


def contrasts_of_large(
    scores: Sequence[float],
    groups: Sequence[str],
    templates: Sequence[str | None],
    *,
    rng: np.random.Generator,
    num_permutations: int = NUM_PERMUTATIONS,
) -> dict[str, Contrast]:
    """Each group of at least MIN_GROUP items against the other such ones, with Holm.

    Empty where there are fewer than two, or where no template has two of them.
    """
    large = large_groups(groups)
    kept = [i for i, group in enumerate(groups) if group in large]
    if len(large) < 2:
        return {}
    found = against_the_rest(
        [scores[i] for i in kept],
        [groups[i] for i in kept],
        [templates[i] for i in kept],
        rng=rng,
        num_permutations=num_permutations,
    )
    adjusted = holm([p for _, p in found.values()])
    return {
        name: Contrast(difference, p, p_holm)
        for (name, (difference, p)), p_holm in zip(found.items(), adjusted, strict=True)
    }


def compare_cells(
    harmful: Sequence[bool],
    scores: Sequence[float],
    first: Sequence[str | None],
    second: Sequence[str | None],
    templates: Sequence[str | None],
    *,
    rng: np.random.Generator,
    num_permutations: int = NUM_PERMUTATIONS,
) -> dict[str, Any]:
    """Every cell with its size, and where sizes allow its difference from the rest.

    Items without one of the attributes are left out. ``difference``, ``p`` and ``p_holm``
    of a cell are None with a ``note`` where it is too few to say; ``p_holm`` up to .05 is
    a finding.
    """
    chosen = [
        i
        for i, pair in enumerate(zip(first, second, strict=True))
        if pair[0] is not None and pair[1] is not None
    ]
    if not chosen:
        return {"by_cell": {}, "note": "no item has both attributes"}
    cells = [f"{first[i]} & {second[i]}" for i in chosen]
    table = {
        f"{one} & {other}": row
        for (one, other), row in by_cell(
            [harmful[i] for i in chosen],
            [scores[i] for i in chosen],
            [str(first[i]) for i in chosen],
            [str(second[i]) for i in chosen],
        ).items()
    }
    found = contrasts_of_large(
        [scores[i] for i in chosen],
        cells,
        [templates[i] for i in chosen],
        rng=rng,
        num_permutations=num_permutations,
    )
    large = large_groups(cells)
    for name, row in table.items():
        contrast = found.get(name)
        row |= dict.fromkeys(("difference", "p", "p_holm", "note"))
        if contrast is not None:
            row |= asdict(contrast)
        elif name not in large:
            row["note"] = f"{TOO_FEW}: {row['items']:g} items, {MIN_GROUP} are the least"
        else:
            row["note"] = f"{TOO_FEW}: no template has this cell beside another large enough"
    note = f"{len(found)} of {len(table)} cells compared with the rest within template, Holm"
    return {"by_cell": table, "note": note if found else f"{TOO_FEW}: {note}"}
