"""Bits per byte of each domain, candidate beside baseline, as figures and as one SVG.

A domain is an item's ``group``. Its value is the ratio of sums, bits over bytes, as for the
whole set (Gao et al. 2020, https://arxiv.org/abs/2101.00027, section 3.1): a long document
counts for more than a short one. Fewer bits are better. Nobody judges domains: they are
smaller samples than the set, and show where a change comes from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from registry.evidence import Evidence

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 820, 210, 190, 26, 40, 30
MAX_DOMAINS = 40
MAX_NAME = 28

STYLE = """<style>
.dp-page{fill:#fff}.dp-text{fill:#1f2328}.dp-quiet{fill:#59636e}.dp-grid{stroke:#d8dee4}
.dp-join{stroke:#afb8c1;stroke-width:3}.dp-new{fill:#0969da}
.dp-old{fill:#fff;stroke:#59636e;stroke-width:2}
@media screen and (prefers-color-scheme:dark){
.dp-page{fill:#0d1117}.dp-text{fill:#e6edf3}.dp-quiet{fill:#9198a1}.dp-grid{stroke:#30363d}
.dp-join{stroke:#484f58}.dp-new{fill:#58a6ff}.dp-old{fill:#0d1117;stroke:#9198a1}}
</style>"""


@dataclass(frozen=True)
class Domain:
    """One domain's bits per byte on both sides; ``baseline`` None where there is none."""

    name: str
    documents: int
    candidate: float
    baseline: float | None


def domains(candidate: Evidence, baseline: Evidence | None) -> list[Domain]:
    """The domains of bits-per-byte evidence, the one that lost most first (the worst first
    where there is no baseline); documents scored on only one side are left out."""
    before = None if baseline is None else {item.key: item for item in baseline.items}
    sums: dict[str, list[float]] = {}
    for item in candidate.items:
        old = None if before is None else before.get(item.key)
        if item.value is None or not item.weight:
            continue
        if before is not None and (old is None or old.value is None):
            continue
        total = sums.setdefault(item.group or "all", [0.0, 0.0, 0.0, 0.0])
        total[0] += item.value
        total[1] += old.value if old is not None and old.value is not None else 0.0
        total[2] += item.weight
        total[3] += 1
    found = [
        Domain(name, int(number), bits / size, None if before is None else old_bits / size)
        for name, (bits, old_bits, size, number) in sums.items()
    ]
    return sorted(found, key=lambda d: ((d.baseline or 0.0) - d.candidate, d.name))


def domains_svg(entry: str, shown: Sequence[Domain], identity: str) -> str:
    """A dot plot: baseline hollow, candidate filled. ``identity`` makes its ids unique in a page;
    at most ``MAX_DOMAINS`` rows."""
    rows = shown[:MAX_DOMAINS]
    height = TOP + ROW * max(len(rows), 1) + BOTTOM
    values = [v for d in rows for v in (d.candidate, d.baseline) if v is not None]
    ticks = _ticks(max(values, default=1.0))
    said = "; ".join(
        f"{d.name}: {d.candidate:.4g}" + (f", before {d.baseline:.4g}" if d.baseline else "")
        for d in rows
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="13" role="img" '
        f'aria-labelledby="{identity}-title {identity}-desc">',
        f'<title id="{identity}-title">{escape(entry)}: bits per byte by domain</title>',
        f'<desc id="{identity}-desc">{escape(said)}</desc>',
        STYLE,
        f'<rect width="{WIDTH}" height="{height}" class="dp-page"/>',
        _legend(any(d.baseline is not None for d in rows)),
    ]
    bottom = height - BOTTOM
    for tick in ticks:
        x = _x(tick, ticks[-1])
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom}" class="dp-grid"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" class="dp-quiet">'
            f"{tick:.4g}</text>"
        )
    for index, domain in enumerate(rows):
        parts += _row(domain, TOP + ROW * index + ROW / 2, ticks[-1])
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _legend(compared: bool) -> str:
    old = (
        f'<circle cx="{LEFT + 110}" cy="16" r="5" class="dp-old"/>'
        f'<text x="{LEFT + 122}" y="20" class="dp-quiet">baseline</text>'
    )
    return (
        f'<circle cx="{LEFT}" cy="16" r="5.5" class="dp-new"/>'
        f'<text x="{LEFT + 12}" y="20" class="dp-quiet">candidate</text>{old if compared else ""}'
    )


def _ticks(highest: float) -> list[float]:
    """0 and three to six round steps that reach ``highest``."""
    if not highest > 0:
        return [0.0, 1.0]
    raw = highest / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    return [step * i for i in range(math.ceil(highest / step - 1e-9) + 1)]


def _x(value: float, highest: float) -> float:
    return LEFT + value / highest * (WIDTH - LEFT - RIGHT)


def _row(domain: Domain, y: float, highest: float) -> list[str]:
    name = domain.name if len(domain.name) <= MAX_NAME else f"{domain.name[: MAX_NAME - 3]}..."
    x = _x(domain.candidate, highest)
    change = ""
    parts = [f'<text x="12" y="{y + 4:.1f}" class="dp-text">{escape(name)}</text>']
    if domain.baseline is not None:
        old = _x(domain.baseline, highest)
        change = f" ({domain.candidate - domain.baseline:+.3g})"
        parts.append(
            f'<line x1="{old:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="dp-join"/>'
            f'<circle cx="{old:.1f}" cy="{y:.1f}" r="5" class="dp-old"/>'
        )
    parts.append(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" class="dp-new"/>'
        f'<text x="{WIDTH - RIGHT + 14}" y="{y + 4:.1f}" class="dp-quiet">'
        f"{domain.candidate:.4g}{change}, n {domain.documents}</text>"
    )
    return parts
