"""A forest plot of a verdict as one SVG that opens anywhere: no plotting library, no script.

The axis is in margins, so that checks with different units share it: 0 is no change,
-1 the largest loss that the policy accepts. An interval right of -1 passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from registry.verdict import Finding, Status

COLOURS = {
    Status.PASS: "#1a7f37",
    Status.FAIL: "#cf222e",
    Status.INCONCLUSIVE: "#9a6700",
    Status.INVALID: "#8250df",
}
WIDTH, LEFT, RIGHT, ROW, TOP = 820, 210, 170, 30, 46
LOWEST, HIGHEST = -3.0, 3.0  # in margins; what lies outside is cut, with an arrow


def _x(value: float) -> float:
    share = (min(max(value, LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def forest_svg(findings: Sequence[Finding]) -> str:
    """One row for each finding that was compared with a margin above 0; the rest are named."""
    height = TOP + ROW * max(len(findings), 1) + 34
    bottom = height - 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
        "<title>Change against the baseline, in margins</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<rect x="{_x(LOWEST):.1f}" y="{TOP - 8}" width="{_x(-1) - _x(LOWEST):.1f}" '
        f'height="{bottom - TOP + 8}" fill="#ffebe9"/>',
    ]
    for tick in (-3, -2, -1, 0, 1, 2, 3):
        dash = ' stroke-dasharray="4 3"' if tick == -1 else ""
        shade = {-1: "#cf222e", 0: "#57606a"}.get(tick, "#d8dee4")
        parts.append(
            f'<line x1="{_x(tick):.1f}" x2="{_x(tick):.1f}" y1="{TOP - 8}" y2="{bottom}" '
            f'stroke="{shade}"{dash}/>'
            f'<text x="{_x(tick):.1f}" y="{bottom + 16}" text-anchor="middle" '
            f'fill="#57606a">{tick:+d}</text>'.replace("+0<", "0<")
        )
    parts.append(
        f'<text x="{_x(-1):.1f}" y="{TOP - 16}" text-anchor="middle" fill="#cf222e">margin</text>'
        f'<text x="{_x(0):.1f}" y="{TOP - 16}" text-anchor="middle" fill="#57606a">no change</text>'
    )
    for index, finding in enumerate(findings):
        parts += _row(finding, TOP + ROW * index + ROW / 2)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _row(f: Finding, y: float) -> list[str]:
    colour = COLOURS[f.status]
    parts = [
        f'<text x="12" y="{y + 4:.1f}">{escape(f.entry[:28])}</text>',
        f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}" fill="{colour}">{f.status}'
        f"{'' if f.tier == 'required' else ' (' + f.tier + ')'}</text>",
    ]
    if f.estimate is None or not f.margin:
        note = "judged by its limit" if f.limit is not None else "not compared"
        parts.append(f'<text x="{_x(0) + 8:.1f}" y="{y + 4:.1f}" fill="#8c959f">{note}</text>')
        return parts
    low = LOWEST if f.low is None else f.low / f.margin
    high = HIGHEST if f.high is None else f.high / f.margin
    middle = f.estimate / f.margin
    parts.append(
        f'<line x1="{_x(low):.1f}" x2="{_x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
        f'stroke="{colour}" stroke-width="2"/>'
    )
    if LOWEST <= middle <= HIGHEST:
        parts.append(f'<circle cx="{_x(middle):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')
    for value, edge, way in ((low, LOWEST, 1), (high, HIGHEST, -1)):
        if (value - edge) * way < 0 or (value == edge):
            x = _x(edge)
            parts.append(f'<path d="M{x:.1f} {y:.1f} l{8 * way} -5 v10 z" fill="{colour}"/>')
    return parts
