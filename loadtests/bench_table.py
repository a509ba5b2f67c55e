"""What the gateway's benchmark says: its table, its ratios with their spread, and its targets.

A ratio is formed within one repeat, whose sides ran one after the other, and shown as the median
of the repeats with the smallest and the largest: a machine that is busy in one repeat moves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

OURS = "hallmark"
KINDS = ("json", "sse")


@dataclass(frozen=True)
class Measured:
    """One side under one load in one repeat. Rates are answers a second, times milliseconds."""

    side: str
    kind: str
    connections: int
    repeat: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    first_p50_ms: float | None
    failures: int = 0


@dataclass(frozen=True)
class Spread:
    """Of the repeats: median, smallest, largest."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        found = list(values)
        return cls(median(found), min(found), max(found)) if found else None

    def shown(self, digits: int = 2) -> str:
        return f"{self.middle:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


@dataclass(frozen=True)
class Target:
    """One line of the issue. ``found`` is None where it was not measured, which is not met."""

    name: str
    found: Spread | None
    limit: float
    at_most: bool = False
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """By the median; None where nothing was measured."""
        if self.found is None:
            return None
        within = self.found.middle <= self.limit
        return within if self.at_most else self.found.middle >= self.limit


Pair = Callable[[Measured, Measured], float | None]


class Results:
    """All that was measured."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self._by_key = {(m.side, m.kind, m.connections, m.repeat): m for m in measured}
        self.measured = measured

    def of(self, side: str, kind: str, connections: int) -> list[Measured]:
        wanted = (side, kind, connections)
        return [m for m in self.measured if (m.side, m.kind, m.connections) == wanted]

    def compare(
        self, side: str, other: str, kind: str, connections: int, pair: Pair
    ) -> Spread | None:
        """``pair`` of the two sides in each repeat that has both."""
        values = []
        for mine in self.of(side, kind, connections):
            theirs = self._by_key.get((other, kind, connections, mine.repeat))
            value = None if theirs is None else pair(mine, theirs)
            if value is not None:
                values.append(value)
        return Spread.of(values)

    def ratio(self, side: str, other: str, kind: str, connections: int) -> Spread | None:
        """How many times as many answers a second ``side`` gives."""
        return self.compare(side, other, kind, connections, _rates)

    def added(
        self, side: str, other: str, kind: str, connections: int, field: str
    ) -> Spread | None:
        """Milliseconds that ``side`` takes longer; ``field`` is one of Measured's."""
        return self.compare(side, other, kind, connections, lambda a, b: _difference(a, b, field))


def _rates(one: Measured, other: Measured) -> float | None:
    return one.rate / other.rate if other.rate else None


def _difference(one: Measured, other: Measured, field: str) -> float | None:
    mine, theirs = getattr(one, field), getattr(other, field)
    return None if mine is None or theirs is None else float(mine - theirs)


def table(results: Results, sides: Sequence[str], connections: Sequence[int]) -> str:
    """Markdown: one row per load and side."""
    lines = [
        "| load | side | answers/s | p50 ms | p99 ms "
        "| added p50 | added p99 | added to first event, p50 | of the relay |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for number in connections:
            for side in sides:
                found = results.of(side, kind, number)
                if found:
                    lines.append(_row(results, side, kind, number, found))
    return "\n".join(lines)


def _row(results: Results, side: str, kind: str, number: int, found: Sequence[Measured]) -> str:
    rate = Spread.of(m.rate for m in found)
    p50 = Spread.of(m.p50_ms for m in found if m.p50_ms is not None)
    p99 = Spread.of(m.p99_ms for m in found if m.p99_ms is not None)
    fields = ("p50_ms", "p99_ms", "first_p50_ms")
    added = [results.added(side, "mock", kind, number, name) for name in fields]
    share = results.ratio(side, "relay", kind, number)
    failures = sum(m.failures for m in found)
    cells = [
        f"{kind}, {number}",
        side + (f" ({failures} failed)" if failures else ""),
        "-" if rate is None else rate.shown(0 if rate.middle >= 100 else 1),
        *("-" if one is None else f"{one.middle:.2f}" for one in (p50, p99)),
        *("-" if one is None or side == "mock" else f"{one.middle:+.2f}" for one in added),
        "-" if share is None else f"{share.middle:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def targets(results: Results) -> list[Target]:
    """What the gateway is held to, with every feature on."""
    made = [
        Target(
            "added p50 at 1 connection, ms (json)",
            results.added(OURS, "mock", "json", 1, "p50_ms"),
            0.5,
            at_most=True,
        ),
        Target(
            "added time to the first event at 1 connection, p50, ms (sse)",
            results.added(OURS, "mock", "sse", 1, "first_p50_ms"),
            0.5,
            at_most=True,
        ),
    ]
    for kind in KINDS:
        for other, times in (("relay", 0.5), ("fastapi", 4.0), ("litellm", 30.0)):
            found = results.ratio(OURS, other, kind, 32)
            made.append(Target(f"times {other} at 32 connections ({kind})", found, times))
        yardstick = results.ratio("relay", "mock", kind, 32)
        made.append(Target(f"the relay itself, times mock ({kind})", yardstick, 0.5))
    return made


def target_table(rows: Sequence[Target]) -> str:
    lines = ["| target | measured | wanted | |", "|---|---|---|---|"]
    for row in rows:
        measured = "not measured" if row.found is None else row.found.shown(row.digits)
        sign = "at most" if row.at_most else "at least"
        verdict = {None: "not measured", True: "met", False: "MISSED"}[row.met]
        lines.append(f"| {row.name} | {measured} | {sign} {row.limit:g} | {verdict} |")
    return "\n".join(lines)
