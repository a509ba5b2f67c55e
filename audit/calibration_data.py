"""Data sets drawn as audits see them, without a difference between groups or with one.

Templates differ in how harsh their answers are and in size, items of one template are alike,
groups are of unequal size and stand unequally in the templates, harms are rare. Each draw
takes the size of the effect, 0 for a null data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GROUPS = ("a", "b", "c", "d", "e")
GROUP_SHARES = np.array([0.38, 0.24, 0.16, 0.12, 0.10])
TINY = "tiny"  # a group of fewer than MIN_GROUP items, treated very badly in all data sets
NUM_TINY = 8
NUM_TEMPLATES = 24
NUM_ITEMS = 480


@dataclass(frozen=True)
class Grouped:
    """One score for each item; ``groups`` and ``templates`` name what it belongs to."""

    scores: list[float]
    groups: list[str]
    templates: list[str]


@dataclass(frozen=True)
class Clustered:
    """One value for each item, candidate and champion, and the template each shares."""

    candidate: list[float]
    champion: list[float]
    templates: list[str]


@dataclass(frozen=True)
class Contrasted:
    """Group minus reference for each question, in {-1, 0, 1} or [-1, 1]."""

    differences: list[float]
    groups: list[str]
    templates: list[str]


def _layout(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Template and group of each item: both unequal, groups unequally spread over templates."""
    sizes = rng.dirichlet(np.full(NUM_TEMPLATES, 4.0))
    templates = np.sort(rng.choice(NUM_TEMPLATES, size=NUM_ITEMS, p=sizes))
    shares = rng.dirichlet(6 * GROUP_SHARES, size=NUM_TEMPLATES)
    thresholds = np.cumsum(shares, axis=1)[templates]
    groups = (rng.random((NUM_ITEMS, 1)) > thresholds).sum(axis=1)
    return templates, np.minimum(groups, len(GROUPS) - 1)


def _grouped(scores: Floats, groups: NDArray[np.int64], templates: NDArray[np.int64]) -> Grouped:
    """With the tiny group added to the last templates."""
    return Grouped(
        [*scores.tolist(), *[1.0] * NUM_TINY],
        [*(GROUPS[g] for g in groups), *[TINY] * NUM_TINY],
        [*map(str, templates), *(str(NUM_TEMPLATES - 1 - i) for i in range(NUM_TINY))],
    )


def toxicity_scores(rng: np.random.Generator, effect: float) -> Grouped:
    """Scores in [0, 1] as a scorer's; group c scores ``effect`` more."""
    templates, groups = _layout(rng)
    level = rng.beta(1.5, 6, NUM_TEMPLATES)[templates]
    noise = 0.1 * rng.standard_gamma(1.0, NUM_ITEMS) - 0.1
    return _grouped(np.clip(level + noise + effect * (groups == 2), 0, 1), groups, templates)


def rare_harms(rng: np.random.Generator, effect: float) -> Grouped:
    """0 or 1 with 4% harm on average, from 0 to 30% by template; group c has ``effect`` more."""
    templates, groups = _layout(rng)
    rate = rng.beta(0.6, 14.4, NUM_TEMPLATES)[templates] + effect * (groups == 2)
    return _grouped((rng.random(NUM_ITEMS) < rate).astype(float), groups, templates)


def crossed(rng: np.random.Generator, effect: float) -> Grouped:
    """Harms of 12% in cells of two attributes; only the cell "c & woman" has ``effect`` more."""
    templates, groups = _layout(rng)
    women = rng.random(NUM_ITEMS) < rng.beta(4, 5, NUM_TEMPLATES)[templates]
    cell = (groups == 2) & women
    rate = rng.beta(1.2, 8.8, NUM_TEMPLATES)[templates] + effect * cell
    drawn = _grouped((rng.random(NUM_ITEMS) < rate).astype(float), groups, templates)
    genders = [*np.where(women, "woman", "man").tolist(), *["woman"] * NUM_TINY]
    cells = [f"{group} & {gender}" for group, gender in zip(drawn.groups, genders, strict=True)]
    return Grouped(drawn.scores, cells, drawn.templates)


def counterfactuals(rng: np.random.Generator, effect: float) -> Contrasted:
    """The same question for six groups and a reference: was it granted? 30 templates of 4.

    Each group has templates where it fares better and others where it fares worse, 0 on
    average; one group loses ``effect`` of what it would be granted.
    """
    num_templates, each, num_groups = 30, 4, 6
    templates = np.repeat(np.arange(num_templates), each)
    granted = rng.beta(6, 4, num_templates)[templates]
    reference = rng.random(len(templates)) < granted
    found = Contrasted([], [], [])
    for group in range(num_groups):
        chance = np.clip(granted + rng.normal(0, 0.15, num_templates)[templates], 0, 1)
        same = rng.random(len(templates)) < 0.8  # the swap leaves most answers as they were
        again = np.where(same, reference, rng.random(len(templates)) < chance)
        again &= rng.random(len(templates)) >= effect * (group == 2)
        found.differences.extend((again.astype(float) - reference).tolist())
        found.groups.extend([f"group {group}"] * len(templates))
        found.templates.extend(map(str, templates))
    return found


def champion_harms(rng: np.random.Generator, effect: float) -> Clustered:
    """0/1 harms of both, 10% on average; which templates do harm differs between the two, by
    chance where ``effect`` is 0, which is the candidate's additional harm."""
    templates, _ = _layout(rng)
    shared = rng.beta(1.0, 9.0, NUM_TEMPLATES)
    own = np.clip(shared + rng.choice([-1, 1], (2, NUM_TEMPLATES)) * shared * 0.8, 0, 1)
    candidate, champion = own[:, templates]
    return Clustered(
        (rng.random(NUM_ITEMS) < candidate + effect).astype(float).tolist(),
        (rng.random(NUM_ITEMS) < champion).astype(float).tolist(),
        [str(t) for t in templates],
    )


def champion_scores(rng: np.random.Generator, effect: float) -> Clustered:
    """Expected maximum toxicity of both; a template's change is shared by its items."""
    templates, _ = _layout(rng)
    level = rng.beta(1.5, 6, NUM_TEMPLATES)[templates]
    change = rng.normal(0, 0.04, NUM_TEMPLATES)[templates]
    mine = 0.1 + 0.7 * level + change / 2 + effect + rng.normal(0, 0.06, NUM_ITEMS)
    theirs = 0.1 + 0.7 * level - change / 2 + rng.normal(0, 0.06, NUM_ITEMS)
    return Clustered(
        np.round(np.clip(mine, 0, 1), 4).tolist(),
        np.round(np.clip(theirs, 0, 1), 4).tolist(),
        [str(t) for t in templates],
    )


BUDGET = 0.05


def budget_harms(rng: np.random.Generator, effect: float) -> Clustered:
    """Harms at exactly the budget of 5% on average plus ``effect``, a template to each item."""
    level = rng.beta(*_around(BUDGET + effect), NUM_ITEMS)
    harms = (rng.random(NUM_ITEMS) < level).astype(float).tolist()
    return Clustered(harms, harms, [str(i) for i in range(NUM_ITEMS)])


def clustered_budget_harms(rng: np.random.Generator, effect: float) -> Clustered:
    """The same with 24 templates whose items are alike: intra-class correlation 1/13."""
    templates, _ = _layout(rng)
    level = rng.beta(*_around(BUDGET + effect), NUM_TEMPLATES)[templates]
    harms = (rng.random(NUM_ITEMS) < level).astype(float).tolist()
    return Clustered(harms, harms, [str(t) for t in templates])


def _around(rate: float) -> tuple[float, float]:
    """Beta parameters with this mean, alike by 1 / (1 + 12)."""
    return 12 * rate, 12 * (1 - rate)
