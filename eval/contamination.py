"""Items of a benchmark that the checkpoint was trained on: found, counted, and taken out.

An item has leaked where one of its texts was in the training data by the rule of
``train.overlap.Search.leaked``. What is found depends on the check's configuration and
files, the words in a run, and the datasets: the record is kept under these, so that a
second gate looks through nothing. It does not find paraphrases or translations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from eval.compare import own, pair_up, paired
from eval.item_texts import ItemTexts
from eval.judge_accuracy import accuracy_of
from eval.measure import entry_digest
from eval.policy import Entry
from registry.dataset import DATASET, DatasetError, verify_dataset
from registry.evidence import Evidence
from registry.records import Record, UserError, canonical_json, digest_of, short, write_atomically
from registry.verdict import CleanPart
from train.overlap import NGRAM, Progress, Search, read_documents, training_files


class ContaminationError(UserError):
    """A stored record is damaged, or training data is no longer what was trained on."""


class Contamination(Record):
    """The items of one check that training data had. ``leaked`` are their keys, sorted.

    ``training`` are the digests of the datasets that were looked through. With ``unknown``,
    why they are not known, nothing was looked through and nothing is said of the items.
    """

    schema_version: Literal[1] = 1
    check: str
    config_digest: str
    ngram: int
    training: tuple[str, ...]
    num_items: int
    leaked: tuple[str, ...] = ()
    num_documents: int = 0
    num_words: int = 0
    unknown: str | None = None

    @model_validator(mode="after")
    def _known_or_not(self) -> Contamination:
        if self.unknown is not None and (self.training or self.leaked):
            raise ValueError("unknown training data, and something found in it")
        return self

    @property
    def digest(self) -> str:
        return digest_of(self)


class ContaminationStore:
    """Records below one folder, each under the digest of what it depends on."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, config_digest: str, ngram: int, training: Sequence[str]) -> Path:
        return self.root / f"{short(digest_of([1, config_digest, ngram, sorted(training)]))}.json"

    def load(self, config_digest: str, ngram: int, training: Sequence[str]) -> Contamination | None:
        """None where there is none. Raises ContaminationError where it is damaged."""
        path = self.path(config_digest, ngram, training)
        if not path.exists():
            return None
        advice = f"delete {path} to look through the training data again"
        try:
            stored = json.loads(path.read_bytes())
            record = Contamination.model_validate(stored["contamination"])
            intact = record.digest == stored["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise ContaminationError(f"{path} cannot be read ({error}); {advice}") from error
        wanted = (config_digest, ngram, tuple(sorted(training)))
        if not intact or (record.config_digest, record.ngram, record.training) != wanted:
            raise ContaminationError(f"{path} does not match its digest or its name; {advice}")
        return record

    def save(self, record: Contamination) -> None:
        body = {"digest": record.digest, "contamination": record.model_dump(mode="json")}
        path = self.path(record.config_digest, record.ngram, record.training)
        write_atomically(path, canonical_json(body))


def leaked_items(texts: ItemTexts, documents: Iterable[str], *, ngram: int = NGRAM) -> list[str]:
    """The keys of the items that were in the documents, in order."""
    return _look([texts], documents, ngram)[0][0]


def _look(
    checks: Sequence[ItemTexts], documents: Iterable[str], ngram: int
) -> tuple[list[list[str]], Search]:
    """One pass for several checks: the leaked keys of each."""
    owners = [
        (number, key)
        for number, items in enumerate(checks)
        for key, texts in items.items()
        for _ in texts
    ]
    every = [text for items in checks for texts in items.values() for text in texts]
    search = Search(every, n=ngram)
    search.look_through(documents)
    leaked = {owner for owner, there in zip(owners, search.leaked(), strict=True) if there}
    found = [[key for key in items if (n, key) in leaked] for n, items in enumerate(checks)]
    return found, search


def find(
    entries: Sequence[Entry],
    training: Mapping[str, Path],
    store: ContaminationStore,
    progress: Progress | None = None,
) -> dict[str, Contamination]:
    """What the policy's entries ask for, by entry name, stored or looked for now.

    ``training`` are folders (or files) by the digest that the checkpoint's manifests give.
    Raises ContaminationError where one is not what its digest says.
    """
    digests = tuple(sorted(training))
    found: dict[str, Contamination] = {}
    missing: dict[int, list[tuple[Entry, str]]] = {}
    for entry in entries:
        if entry.rule.contamination is None:
            continue
        ngram = entry.rule.contamination.ngram
        _, config_digest = entry_digest(entry)
        stored = store.load(config_digest, ngram, digests)
        if stored is None:
            missing.setdefault(ngram, []).append((entry, config_digest))
        else:
            found[entry.name] = stored
    files = _verified(training) if missing else []
    for ngram, group in missing.items():
        texts = [_texts(entry) for entry, _ in group]
        leaked, search = _look(texts, read_documents(files, progress), ngram)
        for (entry, config_digest), items, keys in zip(group, texts, leaked, strict=True):
            record = Contamination(
                check=entry.check,
                config_digest=config_digest,
                ngram=ngram,
                training=digests,
                num_items=len(items),
                leaked=tuple(sorted(keys)),
                num_documents=search.num_documents,
                num_words=search.num_words,
            )
            store.save(record)
            found[entry.name] = record
    return found


def untraceable(entries: Sequence[Entry], why: str) -> dict[str, Contamination]:
    """What is known of the entries where the training data is not: nothing, and why."""
    return {
        entry.name: Contamination(
            check=entry.check,
            config_digest=entry_digest(entry)[1],
            ngram=entry.rule.contamination.ngram,
            training=(),
            num_items=0,
            unknown=why,
        )
        for entry in entries
        if entry.rule.contamination is not None
    }


def _texts(entry: Entry) -> ItemTexts:
    assert entry.row.texts is not None  # load_policy refuses the rule otherwise
    return entry.row.texts(entry.config)


def _verified(training: Mapping[str, Path]) -> list[Path]:
    """All files that training learned from, after every dataset was hashed afresh."""
    files = []
    for digest, folder in sorted(training.items()):
        advice = "restore it, or train on data that is kept"
        if not (folder / DATASET).is_file():
            raise ContaminationError(f"no dataset {short(digest)} at {folder}; {advice}")
        try:
            there = verify_dataset(folder).digest
        except DatasetError as error:
            raise ContaminationError(f"training data {short(digest)}: {error}") from error
        if there != digest:
            raise ContaminationError(
                f"{folder} is dataset {short(there)}, not {short(digest)}; {advice}"
            )
        files += training_files(folder)
    return files


# What it comes to: pure, for the judge


def problem(entry: Entry, candidate: Evidence, record: Contamination | None) -> str | None:
    """Why an entry that asks for it cannot be held to its share; None where it can."""
    rule = entry.rule.contamination
    if rule is None:
        return None
    if record is None:
        return "the policy asks for contamination, and nobody looked: run the gate again"
    if record.unknown is not None:
        return f"contamination cannot be judged: {record.unknown}"
    wanted = (entry.check, candidate.config_digest, rule.ngram, len(candidate.items))
    if (record.check, record.config_digest, record.ngram, record.num_items) != wanted:
        return "contamination was looked for in other items than were measured; gate again"
    if not set(record.leaked) <= {item.key for item in candidate.items}:
        return "contamination names items that were not measured; gate again"
    return None


def clean_part(
    entry: Entry, candidate: Evidence, baseline: Evidence | None, record: Contamination
) -> CleanPart:
    """The entry's numbers without the leaked items; None where no scored item is left."""
    assert entry.rule.contamination is not None
    out = set(record.leaked)
    alpha, judge = entry.rule.alpha, accuracy_of(candidate.tables)
    sides = [
        [item for item in side.items if item.key not in out]
        for side in (candidate, baseline)
        if side is not None
    ]
    body: dict[str, float] = {}
    if all(any(item.value is not None for item in side) for side in sides):
        readings = [own(entry.row, side, alpha=alpha, judge=judge) for side in sides]
        body |= dict(zip(("candidate", "baseline"), (r.estimate for r in readings), strict=False))
        reading = readings[0]
        if baseline is not None:
            pairs = pair_up(entry.row, *sides)
            reading = paired(entry.row, pairs, alpha=alpha, judge=judge)
            body |= {"estimate": reading.estimate}
        bounds = {"low": reading.low, "high": reading.high}
        body |= {name: value for name, value in bounds.items() if math.isfinite(value)}
    return CleanPart(
        leaked=len(out),
        n=len(sides[0]),
        max_share=entry.rule.contamination.max_share,
        **body,
    )


def too_much(part: CleanPart) -> bool:
    """Whether more items leaked than the policy allows: counts, compared exactly."""
    total = part.leaked + part.n
    return Fraction(part.leaked, total) > Fraction(str(part.max_share))
