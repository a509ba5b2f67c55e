"""A checkpoint at an fsspec URI (``s3://``, ``gs://``, ``memory://``...), fetched and checked.

Only the files that its manifest names are fetched, into a folder named by the manifest's
digest, so that a new version at the same address never mixes with the old one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

Advance = Callable[[float, int], None]


def is_remote(uri: str) -> bool:
    return "://" in uri and urlsplit(uri).scheme != "file"


def fetch(uri: str, cache: Path, advance: Advance = lambda done, total: None) -> Path:
    """A local path as it is; of another URI the verified copy below ``cache``.

    A copy that is there already is not fetched again, but its hallmark and model card
    are where the address has them, for these may change. ``advance`` hears of the bytes
    fetched, and of how many there are. Raises CheckpointError where the address cannot be
    read or holds no whole checkpoint; nothing half-fetched stays.
    """
    if not is_remote(uri):
        return Path(unquote(urlsplit(uri).path)) if "://" in uri else Path(uri)
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
            folder = Path(temporary) / "checkpoint"
            _fetch_files(store, root, manifest, folder, advance)
            try:
                put_in_place(folder, destination)
            except FileExistsError:  # another process fetched the same checkpoint meanwhile
                shutil.rmtree(folder)
    for name in (HALLMARK, MODEL_CARD):
        content = _read(store, f"{root}/{name}")
        if content is not None:
            write_atomically(destination / name, content)
    return destination


def write_back(uri: str, file: Path) -> None:
    """Put a fetched checkpoint's new hallmark or model card where the checkpoint stands.

    Nothing for a local one. Raises CheckpointError where the address takes no files.
    """
    if not is_remote(uri):
        return
    store, root = _open(uri)
    with _failing(f"{uri} takes no {file.name}", f"put {file} there yourself", but=()):
        store.pipe_file(f"{root}/{file.name}", file.read_bytes())


def _fetch_files(store: Any, root: str, manifest: bytes, folder: Path, advance: Advance) -> None:
    from fsspec.callbacks import Callback

    write_atomically(folder / MANIFEST, manifest)
    files = read_manifest(folder).files
    total = sum(entry.size_bytes for entry in files.values())
    done = 0
    for name, entry in files.items():
        before = done

        def heard(_: int, value: int, before: int = before, **__: object) -> None:
            advance(before + value, total)

        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            suppress(FileNotFoundError),  # verify names everything that is missing at once
            _failing(f"{root}/{name} cannot be fetched"),
        ):
            store.get_file(f"{root}/{name}", str(target), callback=Callback(hooks={"bytes": heard}))
        done += entry.size_bytes
        advance(done, total)
    verify(folder)


def _open(uri: str) -> tuple[Any, str]:
    import fsspec

    parts = urlsplit(uri)
    if parts.password or parts.query:
        raise CheckpointError(
            f"the address at {parts.hostname} holds a password or a query, which the ledger "
            "would keep; leave them to the store's own settings, such as AWS_PROFILE"
        )
    try:
        store, root = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise CheckpointError(f"{uri} cannot be opened: {first_problem(error)}") from error
    return store, root.rstrip("/")


def _read(store: Any, path: str) -> bytes | None:
    """A remote file's bytes, None where it does not exist."""
    with suppress(FileNotFoundError), _failing(f"{path} cannot be fetched"):
        content: bytes = store.cat_file(path)
        return content
    return None


@contextmanager
def _failing(
    what: str,
    remedy: str = "check address and credentials",
    *,
    but: tuple[type[Exception], ...] = (FileNotFoundError,),
) -> Iterator[None]:
    """A store's failure as a CheckpointError; ``but`` those, which stay what they are."""
    try:
        yield
    except but:
        raise
    except Exception as error:  # each store raises its own library's: aiohttp's, botocore's...
        raise CheckpointError(f"{what}: {first_problem(error)}; {remedy}") from error
