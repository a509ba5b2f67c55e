"""Stages of a long journey: run once, reused while their inputs and code are unchanged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands.session import Session, table
from registry.records import canonical_json, digest_of, file_sha256, write_atomically

ROOT = Path(__file__).resolve().parent.parent
CODE_SUFFIXES = (".py", ".yaml", ".safetensors")

Outputs = dict[str, Any]


def code_digest(rooms: tuple[str, ...]) -> str:
    """Digest of the code and settings of some rooms."""
    files = sorted(
        path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in CODE_SUFFIXES
    )
    return digest_of({str(path.relative_to(ROOT)): file_sha256(path) for path in files})


@dataclass
class Stages:
    """Runs named stages in order, and ends with a table of what happened and where to look."""

    session: Session
    title: str
    num_stages: int
    rows: list[tuple[str, str, float, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        return self.session.home.root / "stages.json"

    def _stored(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            stored = json.loads(self.path.read_bytes())
        except ValueError:
            return {}  # half a file means that no stage can be reused
        return stored if isinstance(stored, dict) else {}

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        work: Callable[[], Outputs],
        *,
        rooms: tuple[str, ...],
        intact: Callable[[Outputs], bool] = lambda outputs: True,
    ) -> Outputs:
        """``work``'s outputs: stored ones where nothing changed and ``intact`` agrees.

        Outputs are JSON; their ``note`` stands in the table. A stage that raises is not
        stored, so the next run begins with it.
        """
        number = len(self.rows) + 1
        key = digest_of({"inputs": dict(inputs), "code": code_digest(rooms)})
        began = time.monotonic()
        stored = self._stored().get(name)
        if stored and stored["key"] == key and intact(stored["outputs"]):
            outputs: Outputs = stored["outputs"]
            state = "reused"
            self.session.say(f"[dim]\\[{number}/{self.num_stages}] {name}: unchanged, reused[/]")
        else:
            self.session.say(f"[bold]\\[{number}/{self.num_stages}] {name}[/]")
            outputs = json.loads(canonical_json(work()))
            everything = {**self._stored(), name: {"key": key, "outputs": outputs}}
            write_atomically(self.path, canonical_json(everything))
            state = "done"
        self.rows.append((name, state, time.monotonic() - began, str(outputs.get("note", ""))))
        return outputs

    def show(self) -> None:
        columns = ("stage", "", "seconds", "what happened")
        rows = [(name, state, f"{taken:.1f}", note) for name, state, taken, note in self.rows]
        self.session.console.print(table(self.title, columns, rows))
        self.session.say(f"all of it: {time.monotonic() - self.started:.0f} s")
