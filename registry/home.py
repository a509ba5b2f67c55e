"""Where one installation keeps its state: one folder, one ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry.records import digest_of


@dataclass(frozen=True)
class Home:
    """The folders below one root, and the ledger's address (``sqlite:///...`` by default)."""

    root: Path
    ledger_url: str

    @classmethod
    def at(cls, root: Path, ledger_url: str | None = None) -> Home:
        root = root.expanduser().resolve()
        return cls(root, ledger_url or f"sqlite:///{root / 'ledger.db'}")

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def fetched(self) -> Path:
        """Verified copies of checkpoints that stand elsewhere."""
        return self.root / "fetched"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def evidence(self) -> Path:
        return self.root / "evidence"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def explained(self, request_id: str) -> Path:
        """The page of `hallmark explain`; it holds the conversation."""
        return self.reports / f"explain-{digest_of(request_id)[7:19]}.html"

    @property
    def runs(self) -> Path:
        """Unfinished trainings, from which an interrupted one resumes."""
        return self.root / "runs"
