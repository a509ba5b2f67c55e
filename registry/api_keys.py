"""API keys as the ledger keeps them: a digest, what it opens, how much it may ask for.

The key itself is shown once, to whoever made it, and is nowhere stored. SHA-256 without salt
or stretching is enough because a key is 256 random bits: nobody can try them out, with a table
or without. (NIST SP 800-63B, section 5.1.2.2: a look-up secret of 112 bits or more needs an
approved one-way function, a shorter one a password hash.) A password hash would cost every
request tens of milliseconds and protect nothing more.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from pydantic import Field

from registry import tables
from registry.database import lock_for_writing
from registry.records import Record, UserError, describe_unknown
from registry.store import Store

Scope = Literal["chat", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = ("chat", "feedback", "admin")


class ApiKeyError(UserError):
    """No such key, or a second one of the same name."""


class ApiKey(Record):
    """One key without its secret. A limit that is None does not limit."""

    key_id: str
    """Random; names the key in quotas and never tells anything of the secret."""
    name: str = Field(min_length=1, max_length=64)
    prefix: str
    """The first characters of the key, to recognise it by."""
    digest: str
    """``sha256:`` of the key's bytes."""
    scopes: tuple[Scope, ...] = Field(min_length=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Prompt and completion tokens together."""
    max_concurrent: int | None = Field(default=None, ge=1)
    created_at: datetime
    revoked_at: datetime | None = None

    @property
    def limited(self) -> bool:
        limits = (self.requests_per_minute, self.tokens_per_minute, self.max_concurrent)
        return any(limit is not None for limit in limits)


def key_digest(token: str | bytes) -> str:
    """What is stored of a key, and what a presented one is compared by."""
    data = token.encode() if isinstance(token, str) else token
    return "sha256:" + hashlib.sha256(data).hexdigest()


class ApiKeys(Store):
    """The part of the ledger that knows who may ask."""

    def record_api_key(self, key: ApiKey) -> None:
        """Keep a new key. Raises ApiKeyError where one of that name is in use."""
        row = key.model_dump()
        row["scopes"] = list(key.scopes)
        table = tables.api_keys
        same = sa.select(table.c.key_id).where(
            table.c.name == key.name, table.c.revoked_at.is_(None)
        )
        with self._writing.begin() as connection:
            lock_for_writing(connection)
            if connection.execute(same).first() is not None:
                raise ApiKeyError(
                    f"a key named {key.name!r} is in use; revoke it with "
                    f"`hallmark keys revoke {key.name}`, or choose another name"
                )
            connection.execute(table.insert(), row)

    def api_keys(self) -> list[ApiKey]:
        """All that were ever made, revoked ones too, oldest first."""
        table = tables.api_keys
        rows = self._all(sa.select(table).order_by(table.c.created_at, table.c.key_id))
        return [ApiKey.model_validate(dict(row._mapping)) for row in rows]

    def revoke_api_key(self, ref: str, at: datetime) -> ApiKey:
        """End the key of this name, id or prefix. Raises ApiKeyError where none is in use."""
        live = [key for key in self.api_keys() if key.revoked_at is None]
        found = [key for key in live if ref in (key.name, key.key_id, key.prefix)]
        if not found:
            known = [f"{key.name} ({key.prefix})" for key in live]
            raise ApiKeyError(f"{describe_unknown('key', ref, known)}; see `hallmark keys list`")
        table = tables.api_keys
        with self._writing.begin() as connection:
            connection.execute(
                table.update().where(table.c.key_id == found[0].key_id).values(revoked_at=at)
            )
        return found[0].model_copy(update={"revoked_at": at})
