"""What ready tasks do to their rows before lm-eval asks: same rows, same words, other shape."""

from __future__ import annotations

import re
from typing import Any


def blimp(rows: Any) -> Any:
    """Pair 0 of each paradigm, then pair 1 of each: the first n are spread over all 67."""
    keys = [(int(pair), name) for pair, name in zip(rows["pairID"], rows["UID"], strict=True)]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    rows = rows.select(order)
    ids = [f"{name}-{pair}" for name, pair in zip(rows["UID"], rows["pairID"], strict=True)]
    return rows.add_column("id", ids)


def hellaswag(rows: Any) -> Any:
    """Source: lm_eval/tasks/hellaswag/utils.py, lm-eval 0.4.13."""
    return rows.map(
        lambda row: {
            "query": _clean(row["ctx"]),
            "choices": [_clean(ending) for ending in row["endings"]],
            "activity": row["ctx"].partition(":")[0],
        }
    )


def _clean(text: str) -> str:
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def which_context(row: dict[str, Any]) -> int:
    """WinoGrande's right context; lm-eval scores the same continuation after each."""
    return int(row["gold"])
