"""Golden log-probabilities: what a checkpoint's weights say of a few fixed texts.

Measured when the gate lets a checkpoint pass, and asked of every engine that is to take over
from a running one: an engine that holds other weights, or broken ones, says something else.
(vLLM 0.32's reload in place gave wrong answers with equal checksums.)
"""

from __future__ import annotations

import math
from datetime import datetime

import sqlalchemy as sa
from pydantic import Field

from registry import tables
from registry.records import Record
from registry.store import Store

# (context, continuation): they meet at a space, where every tokenizer splits, and are ASCII,
# so that characters are bytes.
GOLDEN_PROMPTS: tuple[tuple[str, str], ...] = (
    ("Hello, where is", " my order?"),
    ("The parcel was", " sent on Monday."),
    ("I would like to", " return these shoes."),
    ("Please give me", " the number of the invoice."),
    ("one two three", " four five six"),
    ("The quick brown fox", " jumps over the lazy dog."),
)
# Mean nats per token by which two programs may differ on the same weights. Sums of products in
# another order move float32 by about 1e-5; 8 and 11 bits of mantissa move more.
TOLERANCES = {"float32": 0.002, "float16": 0.02, "bfloat16": 0.1}


class GoldenText(Record):
    """``logprob`` in nats, of the continuation's ``num_tokens`` tokens after its context."""

    context: str
    continuation: str = Field(min_length=1)
    logprob: float = Field(le=0)
    num_tokens: int = Field(ge=1)


class Golden(Record):
    """What one backend in one dtype said; ``tolerance`` is in mean nats per token, > 0."""

    weights_digest: str
    backend: str
    dtype: str
    tolerance: float = Field(gt=0)
    texts: tuple[GoldenText, ...] = Field(min_length=1)
    measured_at: datetime

    def differences(self, said: tuple[GoldenText, ...], tolerance: float) -> list[str]:
        """What another engine said otherwise, in words; none means that it is the same model."""
        if [(one.context, one.continuation) for one in said] != [
            (one.context, one.continuation) for one in self.texts
        ]:
            return ["it was asked other texts"]
        found = []
        for want, have in zip(self.texts, said, strict=True):
            gap = abs(want.logprob - have.logprob) / want.num_tokens
            if want.num_tokens != have.num_tokens:
                found.append(
                    f"{want.continuation!r} is {have.num_tokens} tokens, not {want.num_tokens}"
                )
            elif not gap <= tolerance or math.isnan(gap):
                found.append(
                    f"{want.continuation!r} has {have.logprob:.4f} nats, not {want.logprob:.4f}"
                )
        return found


class GoldenRows(Store):
    """The part of the ledger that keeps golden log-probabilities."""

    def record_golden(self, golden: Golden) -> None:
        """Keep them; measured again with the same backend and dtype, the new ones hold."""
        body = golden.model_dump(mode="json")
        row = {
            "weights_digest": golden.weights_digest,
            "backend": golden.backend,
            "dtype": golden.dtype,
            "tolerance": golden.tolerance,
            "texts": body["texts"],
            "measured_at": golden.measured_at,
        }
        with self._writing.begin() as connection:
            self._put(connection, tables.golden, row)

    def golden(self, weights_digest: str) -> list[Golden]:
        """All of one checkpoint, by backend and dtype; none where it was never measured."""
        table = tables.golden
        query = sa.select(table).where(table.c.weights_digest == weights_digest)
        rows = self._all(query.order_by(table.c.backend, table.c.dtype))
        return [Golden.model_validate(dict(row._mapping)) for row in rows]
