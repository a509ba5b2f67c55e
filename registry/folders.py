"""Whole folders put in place at once: a reader sees none of it or all of it, on disk."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(staging: Path, destination: Path) -> None:
    """Rename ``staging`` to ``destination``, which must not exist or be empty.

    Across file systems the folder is copied beside the destination first, so that the
    last step is a rename here too. Raises FileExistsError where the place is taken.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        _rename(staging, destination)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with tempfile.TemporaryDirectory(
            dir=destination.parent, prefix=f".{destination.name}.", ignore_cleanup_errors=True
        ) as beside:
            copy = Path(beside) / destination.name
            shutil.copytree(staging, copy)
            for path in sorted(copy.rglob("*")):
                sync(path)
            sync(copy)
            _rename(copy, destination)
        shutil.rmtree(staging)
    sync(destination.parent)


def _rename(source: Path, destination: Path) -> None:
    try:
        source.replace(destination)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(error.errno, "there is something else", destination) from error
        raise
