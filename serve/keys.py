"""Who may ask: bearer keys, each with its scopes and limits.

A key is ``hm_``, an id to recognise it by, and 256 random bits. Keys come from the ledger
(`hallmark keys create`) and from HALLMARK_API_KEYS, whose holders run the gateway: those have
every scope and no limit. Where no key was ever made, everybody may ask; revoking the last one
does not open the door again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from registry.api_keys import SCOPES, ApiKey, Scope, key_digest
from serve.errors import ApiError

log = logging.getLogger("hallmark.keys")

REFRESH_SECONDS = 5.0
SHOWN_DIGITS = 16  # of a digest, to look it up by before it is compared as a whole
BEGINNING = datetime.fromtimestamp(0, UTC)

# Which scope opens a route and all below it; any other wants chat.
ROUTE_SCOPES: tuple[tuple[str, Scope], ...] = (
    ("/admin", "admin"),
    ("/metrics", "admin"),
    ("/v1/feedback", "feedback"),
    ("/v1/labelling", "feedback"),
)


def scope_of(path: str) -> Scope:
    """What a key must be for to ask for ``path``."""
    for route, scope in ROUTE_SCOPES:
        if path == route or path.startswith(route + "/"):
            return scope
    return "chat"


def new_key(
    name: str,
    scopes: Sequence[Scope],
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    max_concurrent: int | None = None,
    now: datetime,
) -> tuple[str, ApiKey]:
    """The key to hand over, which nobody can show again, and what the ledger keeps of it."""
    key_id = secrets.token_hex(6)
    token = f"hm_{key_id}_{secrets.token_urlsafe(32)}"
    return token, ApiKey(
        key_id=key_id,
        name=name,
        prefix=f"hm_{key_id}",
        digest=key_digest(token),
        scopes=tuple(scopes),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_concurrent=max_concurrent,
        created_at=now,
    )


ANYBODY = ApiKey(
    key_id="anybody", name="anybody", prefix="", digest="", scopes=SCOPES, created_at=BEGINNING
)


class KeyRing:
    """The keys that count now. ``follow`` reads the ledger again every REFRESH_SECONDS, so a
    revoked key is refused after that time at the latest; while the ledger cannot be read the
    keys known last go on counting."""

    def __init__(self, tokens: Iterable[str], load: Callable[[], Sequence[ApiKey]]) -> None:
        """``tokens`` are the environment's; ``load`` reads the ledger's and is called here."""
        self._fixed = [
            ANYBODY.model_copy(
                update={"key_id": f"environment-{number}", "digest": key_digest(token)}
            )
            for number, token in enumerate(tokens)
        ]
        self._load = load
        self._known: dict[str, list[ApiKey]] = {}
        self.required = False
        self.reload()

    def reload(self) -> None:
        """Read the ledger's keys now. Raises what ``load`` raises, and changes nothing then."""
        stored = self._load()
        known: dict[str, list[ApiKey]] = {}
        for key in (*self._fixed, *stored):
            if key.revoked_at is None:
                known.setdefault(_shown(key.digest), []).append(key)
        self._known = known
        self.required = bool(self._fixed or stored)

    async def follow(self) -> None:
        """Keep reading the ledger until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await asyncio.to_thread(self.reload)
            except Exception as error:  # noqa: BLE001 - a supervised task; the old keys stay
                log.warning("the ledger's keys could not be read: %s", type(error).__name__)

    def check(self, authorization: bytes | None, scope: Scope) -> ApiKey:
        """The key that the header's value carries; ANYBODY where none was ever made.

        Raises ApiError 401, the same for no key, a wrong one and a revoked one, and 403 for a
        key without ``scope``. A presented key is looked up by the beginning of its digest and
        the rest is compared in constant time: how long that takes tells nothing of a secret.
        """
        if not self.required:
            return ANYBODY
        kind, _, token = (authorization or b"").partition(b" ")
        presented = key_digest(token.strip())
        found = None
        for key in self._known.get(_shown(presented), ()):
            if hmac.compare_digest(key.digest, presented):
                found = key
        if found is None or kind.lower() != b"bearer":
            raise ApiError(
                401,
                "missing or wrong API key; send it as 'Authorization: Bearer KEY'",
                "invalid_api_key",
                reason="unauthorized",
            )
        if scope not in found.scopes:
            raise ApiError(
                403,
                f"this key is for {', '.join(found.scopes)}; this route takes one of scope "
                f"{scope}: `hallmark keys create NAME --scope {scope}`",
                "missing_scope",
                reason="unauthorized",
            )
        return found


def refuse_strangers(path: str, client_host: str | None) -> None:
    """Raises ApiError 403 for an admin route asked from another machine while there are no keys.

    ``client_host`` None is a Unix socket. Call it where ``check`` gave ANYBODY.
    """
    if not path.startswith("/admin") or client_host is None:
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(client_host).is_loopback:
            return
    raise ApiError(
        403,
        "admin routes answer other machines only where keys are set; make one here with "
        "`hallmark keys create NAME --scope admin`",
        "missing_scope",
        reason="unauthorized",
    )


def _shown(digest: str) -> str:
    return digest.removeprefix("sha256:")[:SHOWN_DIGITS]
