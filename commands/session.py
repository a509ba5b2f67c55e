"""What every command gets: the home, the ledger, a console, and progress bars."""

from __future__ import annotations

import json as jsonlib
import os
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from registry.checkpoint import MANIFEST, CheckpointError, Manifest, read_manifest
from registry.home import Home
from registry.ledger import Ledger
from registry.records import UserError
from registry.remote import fetch, is_remote, write_back

ProgressCallback = Callable[[float, int], None]


@dataclass
class Session:
    """One command's view of the installation. People read stderr, machines stdout."""

    home: Home
    console: Console

    @classmethod
    def open(cls, root: Path, ledger_url: str | None) -> Session:
        home = Home.at(root, ledger_url)
        home.root.mkdir(parents=True, exist_ok=True)
        console = Console(stderr=True, highlight=False)
        if not console.is_terminal:  # a log has no width; tables should not be cut for it
            console = Console(stderr=True, highlight=False, width=120)
        return cls(home, console)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger_url)

    @property
    def who(self) -> str:
        return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}"

    def say(self, text: str) -> None:
        self.console.print(text)

    def checkpoint(self, reference: str) -> Path:
        """The local folder of an alias, name, digest, folder or URI.

        The last two are recorded on first use; of a URI it is a verified copy.
        """
        folder = self._fetched(reference)
        if (folder / MANIFEST).is_file() or folder.is_dir():
            uri = reference if is_remote(reference) else str(folder.resolve())
            self.ledger.record_checkpoint(read_manifest(folder), uri)
            return folder.resolve()
        return self.stored(reference)

    def stored(self, reference: str) -> Path:
        """The local folder of a checkpoint that the ledger knows, fetched where it must be."""
        return self._fetched(self.ledger.resolve(reference).uri)

    def _fetched(self, uri: str) -> Path:
        if not is_remote(uri):
            return fetch(uri, self.home.fetched)
        with self.progress("fetching", "bytes") as advance:
            return fetch(uri, self.home.fetched, advance)

    def write_back(self, manifest: Manifest, file: Path) -> None:
        """Put a new hallmark or model card where the checkpoint stands, or say why not."""
        try:
            write_back(self.ledger.resolve(manifest.weights_digest).uri, file)
        except CheckpointError as error:
            self.say(f"  [yellow]{error}[/]")

    def base_of(self, manifest: Manifest) -> Path | None:
        """The folder of an adapter's base; None for a checkpoint that stands alone."""
        if not manifest.is_adapter or manifest.parent_digest is None:
            return None
        return self.stored(manifest.parent_digest)

    @contextmanager
    def progress(self, description: str, unit: str = "") -> Iterator[ProgressCallback]:
        """A bar with an estimate on stderr; the callback takes (done, total)."""
        columns = (
            TextColumn("  {task.description:<28}"),
            BarColumn(bar_width=16),
            TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        with Progress(*columns, console=self.console, transient=False) as bars:
            task = bars.add_task(description, total=1)
            advanced = False

            def advance(done: float, total: int) -> None:
                nonlocal advanced
                advanced = True
                bars.update(task, completed=done, total=max(total, 1))

            try:
                yield advance
            finally:
                if not advanced:  # there was nothing to do: no bar that stopped at none of it
                    bars.remove_task(task)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(jsonlib.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table for people; None shows as a dash."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*("-" if cell is None else str(cell) for cell in row))
    return made


def report_failure(error: Exception) -> None:
    """One line for what a user can fix; otherwise an id, with the traceback in a file."""
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        return
    failure = uuid.uuid4().hex[:8]
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"hallmark-failure-{failure}.log"
    log.write_text("".join(traceback.format_exception(error)))
    kind = type(error).__name__
    print(f"internal error {failure} ({kind}); please report it with {log}", file=sys.stderr)
