"""Which code and which libraries made a record: revision and versions, nothing imported."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "hallmark-gate"
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", DISTRIBUTION)
GIT_TIMEOUT_SECONDS = 10


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that decide what training gives."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def code_revision(root: Path = Path(__file__).parent.parent) -> str:
    """The git commit of the code at ``root``, with ``-dirty`` where tracked files differ.

    ``version 0.1.0`` where the code was installed from a wheel, ``unknown`` where neither
    git nor the package's metadata can tell.
    """
    if (root / ".git").exists():
        try:
            commit = _git(root, "rev-parse", "HEAD")
            dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return f"{commit}-dirty" if dirty else commit
    try:
        return f"version {version(DISTRIBUTION)}"
    except PackageNotFoundError:
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    finished = subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_TIMEOUT_SECONDS,
    )
    return finished.stdout.strip()
