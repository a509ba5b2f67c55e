"""The table of instruments in docs/audit.md, made from AUDITS.

python -m audit.instruments          write the table in docs/audit.md again
"""

from __future__ import annotations

from pathlib import Path

from audit.checks import AUDITS
from registry.records import write_atomically

PAGE = Path(__file__).resolve().parent.parent / "docs" / "audit.md"
BEGIN, END = "<!-- instruments: begin -->", "<!-- instruments: end -->"
COLUMNS = ("check", "unit", "better", "what zero means", "source")


def table() -> str:
    """A row for each audit: name, unit, direction, zero, source."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row in AUDITS:
        better = (
            "near 0" if row.kind == "contrasts" else "higher" if row.higher_is_better else "lower"
        )
        cells = (f"`{row.name}`", row.unit, better, row.zero, row.source)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with the table between its marks made anew."""
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    write_atomically(PAGE, with_table(PAGE.read_text()).encode())
    print(f"docs/{PAGE.name}: {len(AUDITS)} instruments")


if __name__ == "__main__":
    main()
