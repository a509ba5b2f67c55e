"""Where an alias points, and where a rollback leads: pure, over its history."""

from __future__ import annotations

from collections.abc import Iterable

from registry.rows import AliasChange


def standing(history: Iterable[AliasChange]) -> list[str]:
    """The digests an alias stands on, the current one last; empty where it was never set.

    A rollback takes the last one away, so that a second rollback goes one further back
    and never returns to what was rolled back from. ``history`` is oldest first.
    """
    digests: list[str] = []
    for change in history:
        if change.kind == "rollback":
            digests.pop()
        elif not digests or digests[-1] != change.digest:
            digests.append(change.digest)
    return digests
