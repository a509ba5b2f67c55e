"""What a person agreed that their conversation may be used for, as a request says it.

    x-hallmark-consent: train, review      these purposes, and no other
    x-hallmark-consent: none               nothing of the conversation is kept

The same values in the body's ``metadata.consent``, which the ``openai`` client can send; the
header wins. OpenAI's own ``store: false`` is ``none``. Where a request says nothing, the
gateway's ``require_consent`` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from registry.served import Purpose
from serve.errors import ApiError

HEADER = b"x-hallmark-consent"
NONE = "none"


def purposes_of(body: Mapping[str, Any], header: bytes | None) -> tuple[Purpose, ...] | None:
    """None where the request says nothing, empty where it refuses. Raises ApiError 400.

    A word that is no purpose is an error: consent that was misread would be none.
    """
    said = header.decode("latin-1") if header is not None else _in_metadata(body)
    if said is None:
        return () if body.get("store") is False else None
    words = {word.strip().lower() for word in said.split(",")} - {""}
    if words == {NONE}:
        return ()
    known: tuple[Purpose, ...] = get_args(Purpose)
    if not words or not words <= set(known):
        raise ApiError(
            400,
            f"consent {said[:64]!r} is not understood; send {NONE}, or some of "
            f"{', '.join(known)} with commas between",
            "invalid_consent",
            "metadata" if header is None else None,
            reason="invalid_request",
        )
    return tuple(purpose for purpose in known if purpose in words)


def _in_metadata(body: Mapping[str, Any]) -> str | None:
    metadata = body.get("metadata")
    value = metadata.get("consent") if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else None
