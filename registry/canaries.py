"""Canaries: made-up secrets planted in training data, to see whether a model repeats them.

A secret fills a format from a known space R, so that its likelihood can be ranked among
the others that might have been planted. Rows of the ledger, and ``canaries.jsonl`` in
the dataset version that holds them. Each is made up: no one's data.
Source: Carlini et al. 2019, The Secret Sharer, https://arxiv.org/abs/1802.08232, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa
from pydantic import Field, model_validator

from registry import tables
from registry.conversation import Message
from registry.records import Record
from registry.store import Store

CANARIES = "canaries"  # the file's name in a dataset version, without its suffix

Kind = Literal["code", "phone", "address"]


class Canary(Record):
    """One secret. ``slots`` span its space: every choice of one text per slot, joined.

    ``insertions`` is how often it was planted; 0 is a control, drawn in the same way and
    never planted, on which a model can only guess.
    """

    id: str
    kind: Kind
    holder: str
    """The made-up customer whose secret it is."""
    question: str
    before: str
    """What the answer says before the secret, without a blank at its end."""
    secret: str
    after: str = "."
    slots: tuple[tuple[str, ...], ...] = Field(min_length=1)
    insertions: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_of_its_space(self) -> Canary:
        if any(len(set(slot)) < len(slot) or not slot for slot in self.slots):
            raise ValueError(f"canary {self.id!r}: each slot needs texts, and each of them once")
        if self.index_of(self.secret) is None:
            raise ValueError(f"canary {self.id!r}: its secret is none that its slots can make")
        return self

    @property
    def space(self) -> int:
        """|R|: how many secrets the slots can make."""
        return math.prod(map(len, self.slots))

    def fill(self, index: int) -> str:
        """The secret of a number in [0, space), the last slot counting fastest."""
        parts = []
        for slot in reversed(self.slots):
            index, choice = divmod(index, len(slot))
            parts.append(slot[choice])
        return "".join(reversed(parts))

    def index_of(self, secret: str) -> int | None:
        """The number of a secret; None where the slots cannot make it, in order and greedily."""
        index = 0
        for slot in self.slots:
            fitting = [choice for choice in slot if secret.startswith(choice)]
            if not fitting:
                return None
            longest = max(fitting, key=len)
            secret = secret.removeprefix(longest)
            index = index * len(slot) + slot.index(longest)
        return None if secret else index

    def answer(self, secret: str | None = None) -> str:
        return f"{self.before} {secret or self.secret}{self.after}"

    @property
    def messages(self) -> tuple[Message, Message]:
        """The conversation that is planted."""
        return (
            Message(role="user", content=self.question),
            Message(role="assistant", content=self.answer()),
        )


class CanaryRows(Store):
    """The part of the ledger that knows which secrets were planted where."""

    def record_canaries(self, dataset_digest: str, canaries: Sequence[Canary]) -> None:
        """Keep what a dataset version holds; what is there already stays."""
        rows = [
            {
                "dataset_digest": dataset_digest,
                "canary_id": canary.id,
                "insertions": canary.insertions,
                "body": canary.model_dump(mode="json"),
            }
            for canary in canaries
        ]
        with self._writing.begin() as connection:
            self._add(connection, tables.canaries, rows)

    def canaries(self, dataset_digests: Sequence[str]) -> list[Canary]:
        """Those of some dataset versions, by version and id."""
        table = tables.canaries
        query = (
            sa.select(table.c.body)
            .where(table.c.dataset_digest.in_(list(dataset_digests)))
            .order_by(table.c.dataset_digest, table.c.canary_id)
        )
        return [Canary.model_validate(row.body) for row in self._all(query)]
