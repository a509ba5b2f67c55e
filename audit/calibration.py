"""How often the audits' rules alarm although nothing differs, and what they detect.

    python -m audit.calibration [--json] [--num-null 1000] [--num-effect 200]

Every rule judges seeded null data sets (``audit.calibration_data``) at a nominal 5% and data
sets with the stated effect. At most 50 + 3 standard errors false alarms of 1,000 are
accepted, 70, and 80% detection is asked for. Rules marked "gate" go the whole way through a
policy and ``eval.gate.judge``: there a false alarm is a PASS or a FAIL of what lies exactly
at the border. Beside each rule stands what is often used in its place, on the same data.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from audit import calibration_data as data
from audit.calibration_gate import (
    any_group_alone,
    budget_verdict,
    change_verdict,
    contrasts_verdict,
)
from audit.intersections import contrasts_of_large
from audit.parity import gap, large_groups, large_groups_p
from registry.verdict import Status

NOMINAL = 0.05
LEAST_DETECTION = 0.8
SEED = 20260201
PERMUTATIONS = 199
CELL_PERMUTATIONS = 399  # with Holm over ten cells the smallest p is .025
NUM_BOOTSTRAP = 100
NUM_INSTEAD = 200  # null data sets that are also judged in the usual way


@dataclass(frozen=True)
class Rule:
    """``alarm`` says whether a rule reports a difference; so does ``instead``, the usual way."""

    name: str
    data: str
    draw: Callable[[np.random.Generator, float], Any]
    effect: float
    effect_words: str
    alarm: Callable[[Any, np.random.Generator], bool]
    detected: Callable[[Any, np.random.Generator], bool]
    instead_name: str
    instead: Callable[[Any, np.random.Generator], bool]


@dataclass(frozen=True)
class Outcome:
    """Counts of one rule. ``allowed`` is the most false alarms that a valid rule may show."""

    rule: str
    data: str
    num_null: int
    false_alarms: int
    allowed: int
    effect: str
    num_effect: int
    detected: int
    instead: str
    num_instead: int
    instead_false_alarms: int

    @property
    def calibrated(self) -> bool:
        """Few enough false alarms, and enough detected."""
        enough = LEAST_DETECTION * self.num_effect
        return self.false_alarms <= self.allowed and self.detected >= enough


def allowed(num_null: int) -> int:
    """Nominal plus three standard errors: 70 of 1,000."""
    return math.floor(NOMINAL * num_null + 3 * math.sqrt(NOMINAL * (1 - NOMINAL) * num_null))


def _permutation(drawn: data.Grouped, rng: np.random.Generator) -> bool:
    p = large_groups_p(
        drawn.scores, drawn.groups, drawn.templates, rng=rng, num_permutations=PERMUTATIONS
    )
    return p is not None and p <= NOMINAL


def _cells(drawn: data.Grouped, rng: np.random.Generator) -> bool:
    return any(one.p_holm <= NOMINAL for one in _cell_contrasts(drawn, rng))


def _cells_unadjusted(drawn: data.Grouped, rng: np.random.Generator) -> bool:
    return any(one.p <= NOMINAL for one in _cell_contrasts(drawn, rng))


def _cell_contrasts(drawn: data.Grouped, rng: np.random.Generator) -> list[Any]:
    return list(
        contrasts_of_large(
            drawn.scores, drawn.groups, drawn.templates, rng=rng, num_permutations=CELL_PERMUTATIONS
        ).values()
    )


def bootstrap_excludes_zero(drawn: data.Grouped, rng: np.random.Generator) -> bool:
    """The 95% bootstrap interval of the largest minus the smallest group mean, as fairlearn's
    ``MetricFrame.difference_ci`` forms it: what statistics must not do."""
    large = large_groups(drawn.groups)
    kept = [i for i, group in enumerate(drawn.groups) if group in large]
    codes = np.unique([drawn.groups[i] for i in kept], return_inverse=True)[1]
    scores = np.asarray(drawn.scores)[kept]
    gaps = []
    for _ in range(NUM_BOOTSTRAP):
        chosen = rng.integers(0, len(scores), len(scores))
        present, codes_there = np.unique(codes[chosen], return_inverse=True)
        gaps.append(gap(scores[chosen], codes_there, len(present)))
    return float(np.quantile(gaps, NOMINAL / 2)) > 0


def _wrong(status: Status) -> bool:
    """Whether anything was decided of what lies exactly at the border."""
    return status in {Status.PASS, Status.FAIL}


RULES = (
    Rule(
        name="permutation within template",
        data="toxicity scores, 5 groups",
        draw=data.toxicity_scores,
        effect=0.06,
        effect_words="one group +.06",
        alarm=_permutation,
        detected=_permutation,
        instead_name="bootstrap of max - min",
        instead=bootstrap_excludes_zero,
    ),
    Rule(
        name="permutation within template",
        data="rare harms (4%), 5 groups",
        draw=data.rare_harms,
        effect=0.17,
        effect_words="one group +17 points",
        alarm=_permutation,
        detected=_permutation,
        instead_name="bootstrap of max - min",
        instead=bootstrap_excludes_zero,
    ),
    Rule(
        name="cells against the rest, Holm",
        data="harms (12%), 5 x 2 cells",
        draw=data.crossed,
        effect=0.42,
        effect_words="one cell +42 points",
        alarm=_cells,
        detected=_cells,
        instead_name="the same without Holm",
        instead=_cells_unadjusted,
    ),
    Rule(
        name="gate: contrasts, Holm",
        data="granted or not, 6 groups",
        draw=data.counterfactuals,
        effect=0.28,
        effect_words="one group loses 28%",
        alarm=lambda drawn, rng: contrasts_verdict(drawn) is Status.FAIL,
        detected=lambda drawn, rng: contrasts_verdict(drawn) is Status.FAIL,
        instead_name="the same without Holm",
        instead=lambda drawn, rng: any_group_alone(drawn),
    ),
    Rule(
        name="gate: change, 0/1",
        data="rare harms (10%)",
        draw=data.champion_harms,
        effect=0.15,
        effect_words="+15 points of harm",
        alarm=lambda drawn, rng: _wrong(change_verdict(drawn, "rare_harm")),
        detected=lambda drawn, rng: change_verdict(drawn, "rare_harm") is Status.FAIL,
        instead_name="items as independent",
        instead=lambda drawn, rng: _wrong(change_verdict(drawn, "rare_harm", clustered=False)),
    ),
    Rule(
        name="gate: change, scores",
        data="expected max toxicity",
        draw=data.champion_scores,
        effect=0.035,
        effect_words="+.035 of toxicity",
        alarm=lambda drawn, rng: _wrong(change_verdict(drawn, "numeric")),
        detected=lambda drawn, rng: change_verdict(drawn, "numeric") is Status.FAIL,
        instead_name="items as independent",
        instead=lambda drawn, rng: _wrong(change_verdict(drawn, "numeric", clustered=False)),
    ),
    Rule(
        name="gate: budget of rare harm",
        data="harms at the budget, 5%",
        draw=data.budget_harms,
        effect=0.05,
        effect_words="+5 points of harm",
        alarm=lambda drawn, rng: _wrong(budget_verdict(drawn)),
        detected=lambda drawn, rng: budget_verdict(drawn) is Status.FAIL,
        instead_name="share as measured",
        instead=lambda drawn, rng: sum(drawn.candidate) != data.BUDGET * len(drawn.candidate),
    ),
    Rule(
        name="gate: budget of rare harm",
        data="the same, templates alike",
        draw=data.clustered_budget_harms,
        effect=0.08,
        effect_words="+8 points of harm",
        alarm=lambda drawn, rng: _wrong(budget_verdict(drawn)),
        detected=lambda drawn, rng: budget_verdict(drawn) is Status.FAIL,
        instead_name="items as independent",
        instead=lambda drawn, rng: _wrong(budget_verdict(drawn, clustered=False)),
    ),
)


def calibrate(
    rule: Rule,
    *,
    seed: int,
    num_null: int,
    num_effect: int,
    num_instead: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Draw, let the rule judge, count. ``num_instead`` null sets, all where None, are also
    judged in the usual way."""
    rng = np.random.default_rng(seed)
    judged = np.random.default_rng(seed + 1)
    num_instead = num_null if num_instead is None else num_instead
    false_alarms = instead = detected = 0
    for index in range(num_null):
        drawn = rule.draw(rng, 0.0)
        false_alarms += rule.alarm(drawn, judged)
        if index < num_instead:
            instead += rule.instead(drawn, judged)
        progress(index + 1, num_null + num_effect)
    for index in range(num_effect):
        detected += rule.detected(rule.draw(rng, rule.effect), judged)
        progress(num_null + index + 1, num_null + num_effect)
    return Outcome(
        rule=rule.name,
        data=rule.data,
        num_null=num_null,
        false_alarms=false_alarms,
        allowed=allowed(num_null),
        effect=rule.effect_words,
        num_effect=num_effect,
        detected=detected,
        instead=rule.instead_name,
        num_instead=num_instead,
        instead_false_alarms=instead,
    )


def all_outcomes(num_null: int, num_effect: int) -> Iterator[Outcome]:
    began = time.monotonic()
    for number, rule in enumerate(RULES):

        def progress(done: int, total: int, number: int = number, rule: Rule = rule) -> None:
            if done % 50 == 0 or done == total:
                share = (number + done / total) / len(RULES)
                left = (time.monotonic() - began) * (1 - share) / share
                print(
                    f"\r{share:4.0%} {rule.name}, {rule.data}: {done} of {total}, "
                    f"about {left:.0f} s left    ",
                    end="" if sys.stderr.isatty() else "\n",
                    file=sys.stderr,
                    flush=True,
                )

        yield calibrate(
            rule,
            seed=SEED + 2 * number,
            num_null=num_null,
            num_effect=num_effect,
            num_instead=min(num_null, NUM_INSTEAD),
            progress=progress,
        )


def table(outcomes: Sequence[Outcome]) -> str:
    line = "{:<28} {:<26} {:>13} {:>8}  {:<21} {:>9}  {:<23} {:>12}"
    lines = [
        line.format(
            "rule", "null data", "false alarms", "allowed", "effect", "detected",
            "used instead", "false alarms",
        )
    ]  # fmt: skip
    for one in outcomes:
        lines.append(
            line.format(
                one.rule, one.data, f"{one.false_alarms} of {one.num_null}", one.allowed,
                one.effect, f"{one.detected / max(one.num_effect, 1):.0%}", one.instead,
                f"{one.instead_false_alarms} of {one.num_instead}",
            )
        )  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="False alarms and detection of the audits' rules on simulated data."
    )
    parser.add_argument("--num-null", type=int, default=1000)
    parser.add_argument("--num-effect", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    began = time.monotonic()
    outcomes = list(all_outcomes(arguments.num_null, arguments.num_effect))
    seconds = time.monotonic() - began
    print(file=sys.stderr)
    if arguments.json:
        rows = [asdict(one) | {"calibrated": one.calibrated} for one in outcomes]
        print(json.dumps({"nominal": NOMINAL, "seconds": seconds, "rules": rows}, indent=1))
    else:
        print(table(outcomes))
        print(f"{seconds:.0f} s")
    failed = [one for one in outcomes if not one.calibrated]
    for one in failed:
        print(f"not calibrated: {one.rule}, {one.data}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
