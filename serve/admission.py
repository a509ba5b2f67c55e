"""No checkpoint answers without its hallmark: the check before every engine start.

Files are hashed afresh each time, so what was swapped after an earlier check is found. What
is swapped between that and the end of the loading is found too: ``Verified.unswapped`` compares
each file's inode, size and times with those from before it was hashed. The time of change
(ctime) cannot be set back by who may write the file.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.checkpoint import CheckpointError, Manifest
from registry.home import Home
from registry.records import UserError, short
from registry.signing import open_envelope
from registry.trust import Admitted, HallmarkError, admit, load_trust


class AdmissionError(UserError):
    """This checkpoint must not answer; the message ends in what to run."""


Revoked = Callable[[], Container[str]]
Stamps = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Verified(Admitted):
    """What was admitted, with the stamps of its folders' files from before they were hashed."""

    stamps: Mapping[Path, Stamps]

    def unswapped(self, variant: str) -> None:
        """Raises AdmissionError where a file is another than the one that was hashed.

        Call it once the engine has loaded: what it loaded is then what was verified.
        """
        for folder, before in self.stamps.items():
            now = stamps(folder)
            if before != now:
                names = sorted(
                    name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
                )
                raise AdmissionError(
                    f"variant {variant!r} is refused: {', '.join(names)} in {folder} changed "
                    "between the verification and the end of the loading; find out who did that, "
                    f"run `hallmark verify {folder}`, and start again"
                )


class Admission:
    """The door of one gateway: what ``home`` trusts now and what its ledger revoked by now."""

    def __init__(self, home: Home, revoked: Revoked) -> None:
        self._home = home
        self._revoked = revoked

    def admit(self, variant: str, folder: Path, base: Path | None = None) -> Verified:
        """What the checkpoint is and who vouches for it. Raises AdmissionError.

        ``base`` is where a LoRA adapter's base is, which needs a hallmark of its own and must
        be the one that the adapter's hallmark covers.
        """
        try:
            before = {one: stamps(one) for one in (folder, base) if one is not None}
            admitted = admit(folder, load_trust(self._home), self._revoked())
            if base is not None or admitted.manifest.is_adapter:
                self._admit_base(admitted.manifest, base)
        except (HallmarkError, CheckpointError) as error:
            raise AdmissionError(f"variant {variant!r} is refused: {error}") from error
        return Verified(**vars(admitted), stamps=before)

    def opened(self, envelope: Mapping[str, Any], address: str) -> bytes:
        """What an engine elsewhere signed with a key trusted here. Raises AdmissionError."""
        try:
            return open_envelope(envelope, load_trust(self._home).keys)[0]
        except HallmarkError as error:
            raise AdmissionError(
                f"the engine at {address} is refused: {error}; trust the key of its home with "
                "`hallmark trust key`"
            ) from error

    def not_revoked(self, envelope_digest: str, address: str) -> None:
        """Raises AdmissionError where the hallmark that admitted it there was revoked."""
        if envelope_digest in self._revoked():
            raise AdmissionError(
                f"the engine at {address} is refused: its hallmark {short(envelope_digest)} was "
                "revoked; start it with another checkpoint"
            )

    def _admit_base(self, adapter: Manifest, base: Path | None) -> None:
        parent = short(adapter.parent_digest or "unknown")
        if base is None:
            raise HallmarkError(
                f"{adapter.name} is an adapter; start the server with the folder of its base "
                f"{parent}, which needs a hallmark too: `hallmark gate {parent}`"
            )
        if not adapter.is_adapter:
            raise HallmarkError(f"{adapter.name} is no adapter, so it has no base; leave it out")
        try:
            found = admit(base, load_trust(self._home), self._revoked()).manifest.weights_digest
        except HallmarkError as error:
            raise HallmarkError(f"the base of adapter {adapter.name}: {error}") from error
        if found != adapter.parent_digest:
            raise HallmarkError(
                f"{adapter.name} was gated upon base {parent}, and {base} holds {short(found)}; "
                "give it its own base, or gate it upon this one"
            )


def stamps(folder: Path) -> Stamps:
    """Inode, size and times of every file below ``folder``, by relative path."""
    found: Stamps = {}
    for path in folder.rglob("*"):
        is_at = path.stat()
        if not stat.S_ISDIR(is_at.st_mode):
            found[str(path.relative_to(folder))] = (
                is_at.st_dev, is_at.st_ino, is_at.st_size, is_at.st_mtime_ns, is_at.st_ctime_ns,
            )  # fmt: skip
    return found
