"""A check's own tables, laid out for any report: rows and columns of short cells.

Long strings may be texts that a model said or was asked: they are left out here, so that no
report has to think of it. Sentences about the figures stand under the key ``note``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eval.wording import number

MAX_CELL = 40  # longer strings in a check's table may be texts and are left out
MAX_ROWS = 40
MAX_NOTE = 300


@dataclass(frozen=True)
class Grid:
    """A titled table with sentences before it; without columns it is the sentences alone."""

    title: str
    sentences: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    more: int = 0
    """Rows that are left out."""


def grids(name: str, table: Any) -> Iterator[Grid]:
    """A list of rows, rows by name, or figures with tables among them."""
    title = name.replace("_", " ")
    if isinstance(table, list | tuple):
        yield from _grid(title, [row for row in table if isinstance(row, Mapping)])
    elif isinstance(table, Mapping) and table:
        if all(isinstance(value, Mapping) for value in table.values()):
            yield from _grid(title, [{"": key, **row} for key, row in table.items()])
        else:
            yield from _figures(name, title, table)


def _figures(name: str, title: str, table: Mapping[str, Any]) -> Iterator[Grid]:
    figures = [
        f"{str(key).replace('_', ' ')}: {cell(value)}"
        for key, value in table.items()
        if is_short(value)
    ]
    sentences = ["; ".join(figures)] if figures else []
    note = table.get("note")
    if isinstance(note, str) and not is_short(note):
        sentences.append(f"{note[:MAX_NOTE]}.")
    inner = [
        grid
        for key, value in table.items()
        if isinstance(value, Mapping | list | tuple)
        for grid in grids(f"{name}: {key}", value)
    ]
    if sentences or inner:
        yield Grid(title, tuple(sentences))
    yield from inner


def _grid(title: str, rows: list[Mapping[str, Any]]) -> Iterator[Grid]:
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    shown = [c for c in columns if all(is_short(row.get(c)) for row in rows)]
    if rows and shown:
        cells = tuple(tuple(cell(row.get(c)) for c in shown) for row in rows[:MAX_ROWS])
        yield Grid(title, (), tuple(shown), cells, max(0, len(rows) - MAX_ROWS))


def is_short(value: Any) -> bool:
    """Whether a value can be no text of a model or a customer."""
    if isinstance(value, str):
        return len(value) <= MAX_CELL
    return value is None or isinstance(value, int | float)


def cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    return number(float(value))
