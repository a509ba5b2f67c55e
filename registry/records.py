"""The base of every record that crosses a file or a process, and the digests over them."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class UserError(Exception):
    """Something its reader can fix: the message says what, where, and what to do next.

    Commands print it as one line without a traceback and exit with 4, unless the
    command documents another code. Every decision a caller can make has a subclass.
    """


class Record(BaseModel):
    """A frozen value with no unknown keys and no NaN or infinity in its JSON.

    Its errors do not repeat what was wrong: that may be a secret or a conversation.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no spaces and no NaN: the bytes that digests are taken over."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(value: Any) -> str:
    """``sha256:<64 hex digits>`` of a value's canonical JSON, or of bytes as they are."""
    data = value if isinstance(value, bytes) else canonical_json(value)
    return "sha256:" + hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Bare hex sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Replace ``path`` by ``data`` so that a reader sees the old bytes or all the new ones.

    ``mode`` is the file's permission before the umask takes its share (0o600 for secrets).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def short(digest: str) -> str:
    """The first twelve hex digits of a digest, for people."""
    return digest.removeprefix("sha256:")[:12]


def describe_unknown(kind: str, name: str, known: Mapping[str, Any] | list[str]) -> str:
    """``no check named 'blimb'; have answer_quality, benchmark``: what a failed look-up says."""
    return f"no {kind} named {name!r}; have {', '.join(sorted(known)) or 'none'}"


def first_problem(error: Exception) -> str:
    """An error's first complaint in one line; of a ValidationError with the key it is about."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]
    return (str(error) or type(error).__name__).splitlines()[0]
