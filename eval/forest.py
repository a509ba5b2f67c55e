"""A forest plot of a verdict as one SVG that opens anywhere: no plotting library, no script.

The axis is in margins, so that checks with different units share it: 0 is no change,
-1 the largest loss that the policy accepts. An interval right of -1 passes. Colours follow
the reader's light or dark setting; statuses are also written out, for who sees no colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from registry.verdict import Finding

WIDTH, LEFT, RIGHT, ROW, TOP = 820, 210, 170, 30, 46
LOWEST, HIGHEST = -3.0, 3.0  # in margins; what lies outside is cut, with an arrow
MAX_NAME = 28

STYLE = """<style>
.fp-page{fill:#fff}.fp-text{fill:#1f2328}.fp-quiet{fill:#59636e}.fp-loss{fill:#ffebe9}
.fp-grid{stroke:#d8dee4}.fp-zero{stroke:#59636e}.fp-margin{stroke:#cf222e}.fp-note{fill:#cf222e}
.fp-PASS{fill:#1a7f37;stroke:#1a7f37}.fp-FAIL{fill:#cf222e;stroke:#cf222e}
.fp-INCONCLUSIVE{fill:#9a6700;stroke:#9a6700}.fp-INVALID{fill:#8250df;stroke:#8250df}
.fp-unjudged{fill:#59636e;stroke:#59636e}.fp-plot text{stroke:none}
@media screen and (prefers-color-scheme:dark){
.fp-page{fill:#0d1117}.fp-text{fill:#e6edf3}.fp-quiet{fill:#9198a1}.fp-loss{fill:#3c1618}
.fp-grid{stroke:#30363d}.fp-zero{stroke:#9198a1}.fp-margin{stroke:#f85149}.fp-note{fill:#f85149}
.fp-PASS{fill:#3fb950;stroke:#3fb950}.fp-FAIL{fill:#f85149;stroke:#f85149}
.fp-INCONCLUSIVE{fill:#d29922;stroke:#d29922}.fp-INVALID{fill:#ab7df8;stroke:#ab7df8}
.fp-unjudged{fill:#9198a1;stroke:#9198a1}}
</style>"""


def _x(value: float) -> float:
    share = (min(max(value, LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def forest_svg(findings: Sequence[Finding]) -> str:
    """One row for each finding that was compared with a margin above 0; the rest are named."""
    height = TOP + ROW * max(len(findings), 1) + 34
    bottom = height - 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fp-plot" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13" role="img" '
        'aria-labelledby="fp-title fp-desc">',
        '<title id="fp-title">Change against the baseline, in margins</title>',
        f'<desc id="fp-desc">{escape(_described(findings))}</desc>',
        STYLE,
        f'<rect width="{WIDTH}" height="{height}" class="fp-page"/>',
        f'<rect x="{_x(LOWEST):.1f}" y="{TOP - 8}" width="{_x(-1) - _x(LOWEST):.1f}" '
        f'height="{bottom - TOP + 8}" class="fp-loss"/>',
    ]
    for tick in (-3, -2, -1, 0, 1, 2, 3):
        dash = ' stroke-dasharray="4 3"' if tick == -1 else ""
        line = {-1: "fp-margin", 0: "fp-zero"}.get(tick, "fp-grid")
        parts.append(
            f'<line x1="{_x(tick):.1f}" x2="{_x(tick):.1f}" y1="{TOP - 8}" y2="{bottom}" '
            f'class="{line}"{dash}/>'
            f'<text x="{_x(tick):.1f}" y="{bottom + 16}" text-anchor="middle" '
            f'class="fp-quiet">{f"{tick:+d}" if tick else "0"}</text>'
        )
    parts.append(
        f'<text x="{_x(-1):.1f}" y="{TOP - 16}" text-anchor="middle" class="fp-note">margin</text>'
        f'<text x="{_x(0):.1f}" y="{TOP - 16}" text-anchor="middle" class="fp-quiet">no change'
        "</text>"
    )
    for index, finding in enumerate(findings):
        parts += _row(finding, TOP + ROW * index + ROW / 2)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _in_margins(f: Finding) -> tuple[float, float, float] | None:
    """(low, middle, high) in margins, None where nothing was compared with a margin above 0."""
    if f.estimate is None or not f.margin:
        return None
    low = LOWEST if f.low is None else f.low / f.margin
    high = HIGHEST if f.high is None else f.high / f.margin
    return low, f.estimate / f.margin, high


def _described(findings: Sequence[Finding]) -> str:
    """The plot for those who hear it."""
    said = []
    for f in findings:
        drawn = _in_margins(f)
        where = f" at {drawn[1]:+.2f}, {drawn[0]:+.2f} to {drawn[2]:+.2f}" if drawn else ""
        said.append(f"{f.entry}: {f.label}{where}")
    return "In margins, where -1 is the largest loss accepted. " + "; ".join(said)


def _row(f: Finding, y: float) -> list[str]:
    look = f"fp-{f.status}" if f.label == f.status else "fp-unjudged"
    name = f.entry if len(f.entry) <= MAX_NAME else f"{f.entry[: MAX_NAME - 3]}..."
    parts = [
        f'<text x="12" y="{y + 4:.1f}" class="fp-text">{escape(name)}</text>',
        f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}" class="{look}">{f.label}'
        f"{'' if f.tier == 'required' else ' (' + f.tier + ')'}</text>",
    ]
    drawn = _in_margins(f)
    if drawn is None:
        note = "judged by its limit" if f.limit is not None else "not compared"
        parts.append(f'<text x="{_x(0) + 8:.1f}" y="{y + 4:.1f}" class="fp-quiet">{note}</text>')
        return parts
    low, middle, high = drawn
    parts.append(
        f'<line x1="{_x(low):.1f}" x2="{_x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
        f'class="{look}" stroke-width="2"/>'
    )
    if LOWEST <= middle <= HIGHEST:
        parts.append(f'<circle cx="{_x(middle):.1f}" cy="{y:.1f}" r="4.5" class="{look}"/>')
    else:
        side, anchor = (12, "start") if middle < LOWEST else (-12, "end")
        parts.append(
            f'<text x="{_x(middle) + side:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}" '
            f'class="{look}">{middle:+.1f}</text>'
        )
    for value, edge, way in ((low, LOWEST, 1), (high, HIGHEST, -1)):
        if (value - edge) * way < 0 or (value == edge):
            x = _x(edge)
            parts.append(f'<path d="M{x:.1f} {y:.1f} l{8 * way} -5 v10 z" class="{look}"/>')
    return parts
