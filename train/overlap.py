"""Runs of words that texts share with training documents, found in one pass over these.

Texts and documents are lowercased and stripped of punctuation. A run of ``n`` words is
hashed to 64 bits; only the hashes of the texts' own runs are kept, with the number of
documents that each occurs in, so the memory is that of the texts, however much training
data goes by. By chance a wrong run is found with probability (runs of the texts) x (words
of training) / 2^64: under one in a thousand for a million runs and ten billion words.

It knows nothing of benchmarks or checkpoints. A script without spaces between its words
is compared in whole stretches between punctuation marks, so little is found there.

Source: Brown et al. 2020, GPT-3, https://arxiv.org/abs/2005.14165, appendix C.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.records import UserError

NGRAM = 13
"""Words of a run; Brown et al.'s largest."""
SHORTEST = 8
"""Brown et al.'s smallest: shorter runs are shared by chance."""
COMMON_AFTER = 10
"""A run in more documents than this is a set phrase: Brown et al. ignore it."""

TRAINING_FILES = ("train", "handbook", "preferences", "labels")
"""The files of a dataset that some stage of training learns from."""

Progress = Callable[[int, int], None]  # bytes (read, of all files)
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_WORD = re.compile(r"[^\W_]+")
_TURN = re.compile(r"<\|\w*\|>(?:system|user|assistant)?")
_APOSTROPHES = str.maketrans("", "", "'\N{RIGHT SINGLE QUOTATION MARK}")
_FIELDS = ("text", "messages", "prompt", "chosen", "rejected", "completion")
_BATCH_WORDS = 1 << 18
_CACHED_WORDS = 1 << 19


class OverlapError(UserError):
    """A training file has a row without text."""


def words(text: str) -> list[str]:
    """Runs of letters and digits, lowercased; apostrophes vanish, all else separates.

    The marks of turns in a rendered conversation (``<|im_start|>user``) are left out.
    """
    if "<|" in text:
        text = _TURN.sub(" ", text)
    return _WORD.findall(text.lower().translate(_APOSTROPHES))


class Search:
    """Looks for runs of the given texts in documents.

    A text of at least ``n`` words has all its runs of ``n`` words, a shorter one a single
    run: the whole of it. Documents may come in any order and in several calls.
    """

    def __init__(self, texts: Sequence[str], *, n: int = NGRAM) -> None:
        if n < 1:
            raise ValueError(f"n is {n}; a run has at least one word")
        self.num_documents = 0
        self.num_words = 0
        self._word_hashes = _WordHashes()
        self._multipliers = _multipliers(n)
        runs: list[Hashes] = []
        self._num_words: list[int] = []
        for text in texts:
            found = words(text)
            self._num_words.append(len(found))
            length = min(n, len(found))
            hashed = self._word_hashes.of(found)
            runs.append(dict(self._runs(hashed, {length})).get(length, np.empty(0, np.uint64)))
        self._lengths = {min(n, count) for count in self._num_words if count}
        every = np.concatenate([*runs, np.empty(0, np.uint64)])
        self._known, inverse = np.unique(every, return_inverse=True)
        ends = np.cumsum([0, *(len(own) for own in runs)])
        self._runs_of = [inverse[a:b] for a, b in itertools.pairwise(ends)]
        self._documents_with = np.zeros(len(self._known), dtype=np.int64)
        size = 1 << max(10, int(8 * len(self._known)).bit_length())
        self._mask = np.uint64(size - 1)
        self._maybe = np.zeros(size, dtype=np.bool_)
        self._maybe[self._known & self._mask] = True

    def look_through(self, documents: Iterable[str]) -> None:
        """Count, for every run, the documents that have it."""
        batch: list[Hashes] = []
        size = 0
        for document in documents:
            batch.append(self._word_hashes.of(words(document)))
            size += len(batch[-1])
            if size >= _BATCH_WORDS:
                self._count(batch)
                batch, size = [], 0
        self._count(batch)

    def leaked(self) -> list[bool]:
        """Whether each text was in the documents.

        A text of at least ``n`` words was where one of its runs is in 1 to ``COMMON_AFTER``
        documents, or where all of its runs are in some, however many. A shorter one was
        where it is there as a whole; where it has fewer than ``SHORTEST`` words, only in at
        most ``COMMON_AFTER`` documents. A text without a word never was.
        """
        return [
            bool(len(runs)) and self._was_there(self._documents_with[runs], num_words)
            for runs, num_words in zip(self._runs_of, self._num_words, strict=True)
        ]

    @staticmethod
    def _was_there(documents: Places, num_words: int) -> bool:
        rare = (documents > 0) & (documents <= COMMON_AFTER)
        whole = bool((documents > 0).all()) and num_words >= SHORTEST
        return bool(rare.any()) or whole

    def _count(self, batch: Sequence[Hashes]) -> None:
        sizes = [len(document) for document in batch]
        self.num_documents += len(sizes)
        self.num_words += sum(sizes)
        if not sum(sizes) or not len(self._known):
            return
        hashed = np.concatenate(batch)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        for length, runs in self._runs(hashed, self._lengths):
            inside = owner[: len(runs)] == owner[length - 1 :]
            near = np.flatnonzero(self._maybe[runs & self._mask] & inside)
            place = np.searchsorted(self._known, runs[near])
            place = np.minimum(place, len(self._known) - 1)
            hit = self._known[place] == runs[near]
            pairs = np.unique(place[hit] * len(sizes) + owner[near[hit]])
            np.add.at(self._documents_with, pairs // len(sizes), 1)

    def _runs(self, hashed: Hashes, lengths: set[int]) -> Iterator[tuple[int, Hashes]]:
        """(length, hash of the run that starts at each word), shorter lengths first.

        Multilinear hashing (Lemire & Kaser 2014, Strongly universal string hashing is fast,
        Computer Journal 57:1624-1638): a random odd multiplier for each place in the run.
        """
        total = np.zeros(len(hashed), dtype=np.uint64)
        for length in range(1, max(lengths, default=0) + 1):
            if length > len(hashed):
                return
            total = total[: len(hashed) - length + 1]
            total = total + hashed[length - 1 :] * self._multipliers[length - 1]
            if length in lengths:
                yield length, total + self._multipliers[-1:] * np.uint64(length)


class _WordHashes(dict[str, int]):
    """The 64-bit hash of each word, the same on every machine; the usual ones are kept."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _CACHED_WORDS:
            self.clear()
        value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = value
        return value

    def of(self, found: Sequence[str]) -> Hashes:
        return np.fromiter(map(self.__getitem__, found), dtype=np.uint64, count=len(found))


def _multipliers(n: int) -> Hashes:
    """One odd number for each place of a run, and one for its length."""
    drawn = np.random.default_rng(0).integers(0, 2**64, size=n + 1, dtype=np.uint64)
    return drawn | np.uint64(1)


def training_files(folder: Path) -> list[Path]:
    """The files of a dataset folder that training learns from; a file itself is one."""
    if folder.is_file():
        return [folder]
    files = [folder / f"{name}.jsonl" for name in TRAINING_FILES]
    return [file for file in files if file.is_file()]


def read_documents(files: Sequence[Path], progress: Progress | None = None) -> Iterator[str]:
    """The text of each row of JSONL files: a document, all messages of a conversation, or a
    prompt with what was preferred, refused or rated. Raises OverlapError naming the line."""
    total = sum(file.stat().st_size for file in files)
    done = 0
    for path in files:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                done += len(line)
                if line.strip():
                    yield _text(path, number, line)
                if progress is not None and number % 256 == 0:
                    progress(done, total)
    if progress is not None:
        progress(total, total)


def _text(path: Path, number: int, line: bytes) -> str:
    try:
        row = json.loads(line)
        parts = [part for name in _FIELDS for part in _parts(row.get(name))]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise OverlapError(f"{path}:{number}: no row of training data ({error})") from error
    if not parts:
        raise OverlapError(
            f"{path}:{number}: the row has none of {', '.join(_FIELDS)}, so what it taught is "
            "unknown; mend the row or make the dataset again"
        )
    return "\n".join(parts)


def _parts(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    return [str(message["content"]) for message in value]
