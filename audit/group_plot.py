"""Group values with their intervals as one SVG, in the colours of the page around it.

A dot and a line for each group, the worst at the top. Dashed lines are the limits, two of them
where a difference may go either way; the plain one is the value of all items. A group with
too few items has a hollow dot and no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from audit.report import GroupFigure
from eval.wording import interval, number

WIDTH, LEFT, RIGHT, ROW, TOP, FOOT = 820, 210, 170, 26, 34, 34
MAX_NAME = 28
MAX_GROUPS = 30


def group_svg(
    entry: str,
    groups: Sequence[GroupFigure],
    *,
    overall: float | None,
    limits: Sequence[float],
    unit: str,
    identity: str,
) -> str:
    """The plot of the first MAX_GROUPS groups that have a value. ``identity`` begins its ids."""
    drawn = [one for one in groups if one.estimate is not None][:MAX_GROUPS]
    low, high = _axis(drawn, overall, limits)
    height = TOP + ROW * len(drawn) + FOOT
    bottom = height - FOOT

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gp" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-size="13" role="img" '
        f'aria-labelledby="{identity}-title {identity}-desc">',
        f'<title id="{identity}-title">{escape(entry)} by group, {escape(unit)}</title>',
        f'<desc id="{identity}-desc">{escape(_described(drawn))}</desc>',
    ]
    for value in _ticks(low, high):
        parts.append(
            f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 6}" y2="{bottom}" '
            f'class="gp-grid"/><text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle" '
            f'class="gp-quiet">{value:g}</text>'
        )
    lines = [(limit, "gp-limit", "limit") for limit in limits]
    for value, look, name in [
        *lines,
        *([(overall, "gp-all", "all")] if overall is not None else []),
    ]:
        parts.append(
            f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 6}" y2="{bottom}" '
            f'class="{look}"/><text x="{x(value):.1f}" y="{TOP - 12}" text-anchor="middle" '
            f'class="{look}-name">{name}</text>'
        )
    for index, one in enumerate(drawn):
        parts += _row(one, TOP + ROW * index + ROW / 2, x)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axis(
    groups: Sequence[GroupFigure], overall: float | None, limits: Sequence[float]
) -> tuple[float, float]:
    """From the least to the greatest number that is drawn, 0 included, a little wider."""
    values = [v for one in groups for v in (one.low, one.estimate, one.high) if v is not None]
    values += [*limits, 0.0, *([] if overall is None else [overall])]
    low, high = min(values), max(values)
    if low == high:
        high = low + 1.0
    room = 0.02 * (high - low)
    return (low - room if low < 0 else low), high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high, three to seven of them."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{n * step:.6g}") for n in range(first, last + 1)]


def _described(groups: Sequence[GroupFigure]) -> str:
    """The plot for those who hear it."""
    return "; ".join(
        f"{one.group}: {number(one.estimate)} of {one.items} items, "
        + (one.too_few or interval(one.low, one.high))
        for one in groups
    )


def _row(one: GroupFigure, y: float, x: Callable[[float], float]) -> list[str]:
    assert one.estimate is not None
    name = one.group if len(one.group) <= MAX_NAME else f"{one.group[: MAX_NAME - 3]}..."
    parts = [
        f'<text x="12" y="{y + 4:.1f}" class="gp-text">{escape(name)}</text>',
        f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}" class="gp-quiet">n={one.items}'
        f"{', too few to say' if one.too_few else ''}</text>",
    ]
    if one.low is not None and one.high is not None:
        parts.append(
            f'<line x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            'class="gp-mark" stroke-width="2"/>'
        )
    look = "gp-few" if one.too_few else "gp-mark"
    parts.append(f'<circle cx="{x(one.estimate):.1f}" cy="{y:.1f}" r="4.5" class="{look}"/>')
    return parts
