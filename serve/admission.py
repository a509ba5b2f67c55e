"""No checkpoint answers without its hallmark: the check before every engine start.

Files are hashed afresh each time, so what was swapped after an earlier check is found.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from registry.checkpoint import CheckpointError
from registry.home import Home
from registry.records import UserError
from registry.trust import Admitted, HallmarkError, admit, load_trust


class AdmissionError(UserError):
    """This checkpoint must not answer; the message ends in what to run."""


Revoked = Callable[[], Container[str]]


class Admission:
    """The door of one gateway: what ``home`` trusts now and what its ledger revoked by now."""

    def __init__(self, home: Home, revoked: Revoked) -> None:
        self._home = home
        self._revoked = revoked

    def admit(self, variant: str, folder: Path) -> Admitted:
        """What the checkpoint is and who vouches for it. Raises AdmissionError."""
        try:
            return admit(folder, load_trust(self._home), self._revoked())
        except (HallmarkError, CheckpointError) as error:
            raise AdmissionError(f"variant {variant!r} is refused: {error}") from error
