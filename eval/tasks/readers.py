"""What ready tasks do to their rows before lm-eval asks: same rows, same words, other shape."""

from __future__ import annotations

import re
from typing import Any


def blimp(rows: Any) -> Any:
    """Pair 0 of each paradigm, then pair 1 of each: the first n are spread over all 67."""
    columns = rows[:]
    keys = [(int(n), name) for n, name in zip(columns["pairID"], columns["UID"], strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    sorted_columns = {name: [values[i] for i in order] for name, values in columns.items()}
    ids = [f"{keys[i][1]}-{keys[i][0]}" for i in order]
    return type(rows).from_dict(sorted_columns | {"id": ids})


def hellaswag(rows: Any) -> Any:
    """Source: lm_eval/tasks/hellaswag/utils.py, lm-eval 0.4.13; whole columns are five times as
    fast as a row at a time."""
    columns = rows[:]
    columns["query"] = [_clean(context) for context in columns["ctx"]]
    columns["choices"] = [[_clean(one) for one in endings] for endings in columns["endings"]]
    columns["activity"] = [context.partition(":")[0] for context in columns["ctx"]]
    return type(rows).from_dict(columns)


def _clean(text: str) -> str:
    text = text.strip().replace(" [title]", ". ")
    if "[" in text:
        text = re.sub(r"\[.*?\]", "", text)
    return text.replace("  ", " ")


def which_context(row: dict[str, Any]) -> int:
    """WinoGrande's right context; lm-eval scores the same continuation after each."""
    return int(row["gold"])
