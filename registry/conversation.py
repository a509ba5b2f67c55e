"""Conversations in the ``messages`` format that the ecosystem already uses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from registry.records import Record

Role = Literal["system", "user", "assistant"]


class Message(Record):
    role: Role
    content: str


class Conversation(Record):
    """One dialogue. ``tags`` holds what its source knows: intents, slots, rule, group."""

    id: str
    messages: tuple[Message, ...]
    source: str
    licence: str
    tags: dict[str, Any] = Field(default_factory=dict)
