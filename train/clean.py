"""Raw conversations to clean ones: normalised, personal data masked, no exact duplicates.

Then the split into train, validation and test: by a hash of the conversation's id, so
that a conversation stays on its side when others come or go.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from registry.conversation import Conversation, Message
from registry.records import Record
from train.privacy import mask
from train.sources import LabelledCompletion

Progress = Callable[[int, int], None]

SPLITS = ("train", "validation", "test")

_BLANKS = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r" ?\n[ \n]*")
# Control, format (zero-width, direction) and unassigned characters; newline and tab stay.
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Cn"))


class CleanReport(Record):
    """Counts of conversations, and of pieces of personal data by kind."""

    read: int
    kept: int
    duplicates: int
    empty: int
    normalised: int
    masked: dict[str, int]

    def lines(self) -> list[str]:
        """For people: what was kept, dropped and masked."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.masked.items()))
        return [
            f"{self.read:,} conversations read, {self.kept:,} kept, "
            f"{self.duplicates:,} exact duplicates and {self.empty:,} empty ones dropped",
            f"personal data masked: {kinds or 'none found'}",
        ]


@dataclass(frozen=True)
class Cleaned:
    conversations: list[Conversation]
    report: CleanReport


def normalise(text: str) -> str:
    """Unicode NFC, without invisible characters, doubled blanks and blank lines."""
    if not text.isascii():
        text = "".join(
            character
            for character in unicodedata.normalize("NFC", text)
            if character in "\n\t" or unicodedata.category(character) not in _INVISIBLE
        )
    elif not text.isprintable():
        text = "".join(c for c in text.replace("\r\n", "\n") if c in "\n\t" or c.isprintable())
    return _BLANK_LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def clean(conversations: Iterable[Conversation], progress: Progress | None = None) -> Cleaned:
    """Normalise and mask every message, then drop all but the first of equal conversations.

    Two conversations are equal where all roles and texts are, personal data aside. One
    without a user's or an assistant's text is dropped as empty. Planted personal data
    leaves the tags too: ``personal`` becomes its counts by kind.
    """
    rows = list(conversations)
    kept: list[Conversation] = []
    seen: set[bytes] = set()
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for index, conversation in enumerate(rows):
        if progress and index % 256 == 0:
            progress(index, len(rows))
        messages = []
        for message in conversation.messages:
            text = normalise(message.content)
            counts["normalised"] += text != message.content
            found = mask(text)
            kinds.update(found.counts)
            messages.append(Message(role=message.role, content=found.text))
        said = {message.role for message in messages if message.content}
        if not {"user", "assistant"} <= said:
            counts["empty"] += 1
            continue
        digest = _content_digest(messages)
        if digest in seen:
            counts["duplicates"] += 1
            continue
        seen.add(digest)
        update = {"messages": tuple(messages), "tags": _without_personal(conversation.tags)}
        kept.append(conversation.model_copy(update=update))
    if progress:
        progress(len(rows), len(rows))
    report = CleanReport(
        read=len(rows),
        kept=len(kept),
        duplicates=counts["duplicates"],
        empty=counts["empty"],
        normalised=counts["normalised"],
        masked=dict(kinds),
    )
    return Cleaned(kept, report)


def masked(conversation: Conversation) -> Conversation:
    """One conversation normalised and masked as ``clean`` does, but never dropped.

    For questions, which end in a user's message that nobody has answered yet.
    """
    messages = tuple(map(_masked, conversation.messages))
    update = {"messages": messages, "tags": _without_personal(conversation.tags)}
    return conversation.model_copy(update=update)


def clean_rewards(rows: Iterable[LabelledCompletion]) -> list[LabelledCompletion]:
    """Rated answers normalised and masked, all but the first of equal ones dropped."""
    kept: dict[bytes, LabelledCompletion] = {}
    for row in rows:
        cleaned = LabelledCompletion(
            prompt=tuple(map(_masked, row.prompt)),
            completion=tuple(map(_masked, row.completion)),
            label=row.label,
        )
        kept.setdefault(_content_digest((*cleaned.prompt, *cleaned.completion)), cleaned)
    return list(kept.values())


def split(
    conversations: Iterable[Conversation],
    *,
    seed: int,
    shares: Sequence[float] = (0.9, 0.05, 0.05),
) -> dict[str, list[Conversation]]:
    """Conversations by ``train``, ``validation`` and ``test``, each id always on one side.

    Raises ValueError unless ``shares`` are three numbers >= 0 with a sum of 1.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares must be three numbers >= 0 with a sum of 1, not {shares}")
    parts: dict[str, list[Conversation]] = {name: [] for name in SPLITS}
    for conversation in conversations:
        point = _point(f"{seed}/{conversation.id}")
        if point < shares[0]:
            parts["train"].append(conversation)
        elif point < shares[0] + shares[1]:
            parts["validation"].append(conversation)
        else:
            parts["test"].append(conversation)
    return parts


def _masked(message: Message) -> Message:
    return Message(role=message.role, content=mask(normalise(message.content)).text)


def _point(key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def _content_digest(messages: Sequence[Message]) -> bytes:
    digest = hashlib.sha256()
    for message in messages:
        digest.update(f"{message.role}\0{message.content}\0".encode())
    return digest.digest()


def _without_personal(tags: dict[str, Any]) -> dict[str, Any]:
    planted = tags.get("personal")
    if not isinstance(planted, list):
        return tags
    return tags | {"personal": dict(Counter(kind for kind, _ in planted))}
