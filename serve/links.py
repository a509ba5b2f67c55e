"""Signed links: an end user says something of one answer, without an API key.

A token names one request and the second in which it ends, and carries an HMAC-SHA256 (RFC
2104) over both. It opens feedback on that request and nothing else: it cannot read an answer,
speak of another, or ask anything. Links travel behind a URL's ``#``, which browsers send to
no server, so that no log and no Referer header holds them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.records import UserError, canonical_json

KEY_BYTES = 32
KEY_FILE = "links.key"
SIGNED = b"hallmark feedback link v1\n"  # so that nothing else signed with the key is a link
MAX_TOKEN_CHARS = 1024


class LinkError(UserError):
    """A link that opens nothing: damaged, made with another key, or past its end."""


@dataclass(frozen=True)
class Link:
    """What a token opens. ``digest`` names the token without being it."""

    request_id: str
    expires_at: datetime
    digest: str


class Links:
    """Makes and opens tokens with one key of 32 bytes or more."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise LinkError(f"a key for links has at least {KEY_BYTES} bytes, not {len(key)}")
        self._key = key

    @classmethod
    def of_folder(cls, keys: Path) -> Links:
        """With the key of an installation's keys folder, made on first use.

        Removing the file ends every link that was given out.
        """
        path = keys / KEY_FILE
        try:
            return cls(bytes.fromhex(path.read_text().strip()))
        except FileNotFoundError:
            _make(path)
            return cls(bytes.fromhex(path.read_text().strip()))
        except ValueError as error:
            raise LinkError(
                f"{path} holds no key in hex digits; remove it, and a new one is made"
            ) from error

    def token(self, request_id: str, expires_at: datetime) -> str:
        """URL-safe text for one request, up to the second ``expires_at``."""
        if not 1 <= len(request_id) <= 128:
            raise LinkError("a request id has 1 to 128 characters; x-request-id holds it")
        payload = canonical_json({"e": int(expires_at.timestamp()), "r": request_id})
        return f"{_encode(payload)}.{_encode(self._mac(payload))}"

    def open(self, token: str, *, now: datetime) -> Link:
        """Raises LinkError; the signature is looked at before anything that it covers."""
        body, _, signature = token[:MAX_TOKEN_CHARS].partition(".")
        try:
            payload, given = _decode(body), _decode(signature)
        except (ValueError, binascii.Error) as error:
            raise LinkError("this link is damaged; ask for a new one") from error
        if not hmac.compare_digest(self._mac(payload), given):
            raise LinkError("this link was changed, or its key is no longer in use; ask anew")
        fields = json.loads(payload)
        expires_at = datetime.fromtimestamp(fields["e"], UTC)
        if now >= expires_at:
            raise LinkError(
                f"this link ended at {expires_at:%Y-%m-%d %H:%M} UTC; ask for a new one"
            )
        return Link(fields["r"], expires_at, hashlib.sha256(payload).hexdigest())

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, SIGNED + payload, hashlib.sha256).digest()


def _make(path: Path) -> None:
    """A new key, readable by its owner alone; where another process was quicker, its key stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
