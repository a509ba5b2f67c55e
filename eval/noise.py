"""How far a checkpoint's value moves between neighbouring snapshots of its own training.

The snapshots are measured on the same items, so their spread is the training's own and
not that of drawing items, which the intervals hold. A margin below it is held against
differences that another step of the same training makes. Pure: no file, no model.

Sources: Heineman et al. 2025, Signal and Noise, https://arxiv.org/abs/2508.13144 (noise as
the standard deviation over the last checkpoints of a training); Madaan et al. 2024,
Quantifying Variance in Evaluation Benchmarks, https://arxiv.org/abs/2406.10229. Successive
differences, which a steady trend inflates little: von Neumann et al. 1941, The mean square
successive difference, Annals of Mathematical Statistics 12:153-162. The difference of two:
ISO 5725-6:1994, section 4.1, the repeatability limit 1.96 sqrt(2) sd.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from eval.compare import own
from eval.judge_accuracy import accuracy_of
from eval.policy import Policy
from registry.evidence import Evidence
from registry.verdict import Finding, NoiseFloor, Status

MIN_VALUES = 3
"""Two differences: with one alone nothing can be said of a spread."""


def noise_floor(values: Sequence[float]) -> NoiseFloor | None:
    """Of values in the order of steps, the last being the checkpoint's own.

    ``sd = sqrt(sum((x[i+1] - x[i])**2) / (2 (k - 1)))`` of the k values, and
    ``floor = 1.96 sqrt(2) sd``: what the difference of two snapshots stays within in 95 of
    100 cases. With few values both are rough: from five, sd may be off by a third. None
    below ``MIN_VALUES``. Raises ValueError for a value that is no finite number.
    """
    if not all(map(math.isfinite, values)):
        raise ValueError(f"values must be finite numbers, not {list(values)}")
    if len(values) < MIN_VALUES:
        return None
    steps = [later - earlier for earlier, later in itertools.pairwise(values)]
    sd = math.sqrt(math.fsum(step * step for step in steps) / (2 * len(steps)))
    return NoiseFloor(values=tuple(values), sd=sd, floor=1.96 * math.sqrt(2) * sd)


def noise_floors(
    policy: Policy, snapshots: Sequence[Mapping[str, Evidence]], candidate: Mapping[str, Evidence]
) -> dict[str, NoiseFloor]:
    """By entry name, from the evidence on each snapshot (earliest first) and the candidate.

    An entry that some snapshot has no value for has no floor.
    """
    floors = {}
    for entry in policy.entries:
        values = []
        for side in (*snapshots, candidate):
            found = side.get(entry.name)
            if found is not None and any(item.value is not None for item in found.items):
                judge = accuracy_of(found.tables)
                reading = own(entry.row, found.items, alpha=entry.rule.alpha, judge=judge)
                values.append(reading.estimate)
        floor = noise_floor(values) if len(values) == len(snapshots) + 1 else None
        if floor is not None:
            floors[entry.name] = floor
    return floors


def with_noise(finding: Finding, floor: NoiseFloor | None) -> Finding:
    """The finding with its noise floor, and a warning in its reason where the margin lies
    below. The status stays: noise is a reason to doubt a margin, not evidence."""
    if floor is None or finding.status is Status.INVALID:
        return finding
    reason = finding.reason
    if finding.margin is not None and finding.margin < floor.floor:
        reason += (
            f"; warning: the margin {finding.margin:g} lies below the noise floor "
            f"{floor.floor:.3g} of {len(floor.values)} snapshots of this training"
        )
    return finding.model_copy(update={"noise": floor, "reason": reason})
