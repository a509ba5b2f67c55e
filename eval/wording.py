"""How a verdict's numbers and words read, the same in Markdown, in HTML and in a plot."""

from __future__ import annotations

from registry.records import short
from registry.verdict import Finding, Status, Verdict

COLUMNS = (
    "entry", "tier", "finding", "candidate", "baseline", "change", "margin", "own value", "limit",
    "n", "unscored",
)  # fmt: skip

NEXT_STEPS = {
    Status.PASS: "Every required entry passed. `hallmark promote` moves the alias.",
    Status.FAIL: "Look at the entries that FAIL, then at the groups that lost most. A margin is "
    "widened in the policy, with a reason, by its owner; never for one candidate.",
    Status.INCONCLUSIVE: "The items do not decide it: `hallmark plan` says how many would. "
    "INCONCLUSIVE is not a pass.",
    Status.INVALID: "The evidence is not comparable or not there: the reasons say what to "
    "measure again.",
}


def finding_cells(f: Finding) -> tuple[str, ...]:
    """One finding's row, a cell for each of ``COLUMNS``."""
    return (
        f.entry,
        f.tier,
        f.label,
        f"{number(f.candidate)} {f.unit}" if f.candidate is not None else "-",
        number(f.baseline),
        f"{number(f.estimate, signed=True)} {interval(f.low, f.high, signed=True)}"
        if f.estimate is not None
        else "-",
        number(f.margin),
        interval(f.limit_low, f.limit_high) if f.candidate is not None else "-",
        "-"
        if f.limit is None
        else f"{'at least' if f.higher_is_better else 'at most'} {number(f.limit)}",
        str(f.n),
        str(f.unscored),
    )


def asides(f: Finding) -> list[str]:
    """Sentences about the clean part of the items and about the training's noise, where the
    finding has them."""
    said = []
    if f.clean is not None:
        part = f.clean
        bounds = interval(part.low, part.high, signed=part.estimate is not None)
        change = (
            f", change {number(part.estimate, signed=True)}" if part.estimate is not None else ""
        )
        score = (
            f"candidate {number(part.candidate)}, baseline {number(part.baseline)}{change} {bounds}"
        )
        said.append(
            f"Without the {part.leaked} items that the candidate was trained on, {part.n} are "
            f"left: {score if part.candidate is not None else 'none of them has a value'}."
        )
    if f.noise is not None:
        moves = ", ".join(number(value) for value in f.noise.values)
        said.append(
            f"Snapshots of the candidate's training gave {moves}: two of them differ by up to "
            f"{number(f.noise.floor)} by chance."
        )
    return said


def contrast_table(f: Finding) -> dict[str, dict[str, str]]:
    """Each group's difference from its reference, by group; empty where there are none."""
    return {
        one.group: {
            "questions": str(one.n),
            "difference": number(one.estimate, signed=True),
            "interval": interval(one.low, one.high, signed=True),
            "finding": "too few to say" if one.note is not None else one.status,
        }
        for one in f.contrasts or ()
    }


def compared_with(verdict: Verdict) -> tuple[str, str | None]:
    """(what the candidate was compared with, its digest in short or None)."""
    if verdict.baseline_digest is None:
        return f"absolute limits alone (there is no {verdict.against})", None
    return verdict.against, short(verdict.baseline_digest)


def number(value: float | None, *, signed: bool = False) -> str:
    """Four significant digits, all of a large number's; ``-`` for a value that is not there."""
    if value is None:
        return "-"
    if abs(value) >= 10_000:
        return f"{value:+,.0f}" if signed else f"{value:,.0f}"
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """``[low, high]``; a bound that is None is open."""
    return (
        f"[{'-inf' if low is None else number(low, signed=signed)}, "
        f"{'inf' if high is None else number(high, signed=signed)}]"
    )
