"""A checkpoint at an fsspec URI (``s3://``, ``gs://``, ``memory://``...), fetched and checked.

Only the files that its manifest names are fetched, into a folder named by the manifest's
digest, so that a new version at the same address never mixes with the old one.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from registry.checkpoint import (
    HALLMARK,
    MANIFEST,
    MODEL_CARD,
    CheckpointError,
    read_manifest,
    verify,
)
from registry.folders import put_in_place
from registry.records import digest_of, first_problem, short, write_atomically


def fetch(uri: str, cache: Path) -> Path:
    """A local path as it is; of another URI the verified copy below ``cache``.

    A copy that is there already is not fetched again, but its hallmark and model card
    are, for these may change. Raises CheckpointError where the address cannot be read
    or holds no whole checkpoint; nothing half-fetched stays.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if "://" not in uri:
        return Path(uri)
    store, root = _open(uri)
    manifest = _read(store, f"{root}/{MANIFEST}")
    if manifest is None:
        raise CheckpointError(
            f"{uri} has no {MANIFEST}, so it is no complete checkpoint; check the address"
        )
    destination = cache / short(digest_of([uri, digest_of(manifest)]))
    if not destination.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as temporary:
            _fetch_files(store, root, manifest, Path(temporary) / "checkpoint", destination)
    for name in (HALLMARK, MODEL_CARD):
        content = _read(store, f"{root}/{name}")
        if content is None:
            (destination / name).unlink(missing_ok=True)
        else:
            write_atomically(destination / name, content)
    return destination


def _fetch_files(store: Any, root: str, manifest: bytes, folder: Path, destination: Path) -> None:
    write_atomically(folder / MANIFEST, manifest)
    for name in read_manifest(folder).files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.get_file(f"{root}/{name}", str(target))
        except FileNotFoundError:
            continue  # verify names everything that is missing at once
    verify(folder)
    try:
        put_in_place(folder, destination)
    except FileExistsError:  # another process fetched the same checkpoint meanwhile
        shutil.rmtree(folder)


def _open(uri: str) -> tuple[Any, str]:
    import fsspec

    try:
        store, root = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise CheckpointError(f"{uri} cannot be opened: {first_problem(error)}") from error
    return store, root.rstrip("/")


def _read(store: Any, path: str) -> bytes | None:
    """A remote file's bytes, None where it does not exist."""
    try:
        content: bytes = store.cat_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be fetched: {first_problem(error)}; check address and credentials"
        ) from error
    return content
