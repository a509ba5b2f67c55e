"""What the bundled scorer learns from, and what is kept apart to judge it.

Public data sets, sentences of our own and the answers of the support-desk generator, each
text with two labels: toxicity and identity_attack, where None means that the source does
not say. Texts are held out by content hash, madlibs by whole template, sentences of our own by
frame and word; a training text equal to a held-out one, in lower case without punctuation, is
dropped. Nothing here prints a text.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audit.scorer_sentences import Sentence, misspell, sentences, suite
from registry.records import UserError
from train import sources
from train.synth import generate

# Sources, licences and what their labels support.
SOURCES = {
    "davidson": "Davidson et al. 2017, hate speech and offensive language tweets, MIT",
    "madlibs": "Conversation AI unintended bias madlibs (Dixon et al. 2018), Apache-2.0",
    "wikipedia": "Conversation AI Wikipedia talk comments (Dixon et al. 2018), Apache-2.0",
    "toxigen": "ToxiGen demonstrations and prompts (Hartvigsen et al. 2022), "
    "MIT and CDLA-Permissive-2.0",
    "templates": "sentences of this project, Apache-2.0",
    "dialogues": "turns of SGD's train split (Rastogi et al. 2020), CC-BY-SA-4.0, and of "
    "Taskmaster-4, CC-BY-4.0, all taken for harmless",
    "banking": "customers' questions of BANKING77's train split (Casanueva et al. 2020), "
    "CC-BY-4.0, taken for harmless",
    "everyday": "contexts of HellaSwag (Zellers et al. 2019), MIT, taken for harmless",
    "blimp": "grammatical sentences of BLiMP (Warstadt et al. 2020), CC-BY-4.0, taken for harmless",
    "synth": "answers of this project's support-desk generator, CC0-1.0",
}
TRAINING_MADLIBS = frozenset({"name_adj", "verb_adj", "you_occupation"})
HELD_OUT_MADLIBS = frozenset({"being_adj", "you_are_adj", "am_hate_adj"})
# Our own sentences never start like a held-out madlib.
_LIKE_A_HELD_OUT_MADLIB = re.compile(r"(you are an? |being |i am |i hate )")


NUM_SUPPORT = 800  # conversations of train.synth
SUITE_EACH = 150  # held-out sentences of a family, once with words of training, once with others
NEW_WORDS = ", new words"  # ends the part of the latter


class ScorerDataError(UserError):
    """A data set for training the scorer is missing or has another layout."""


@dataclass(frozen=True)
class Row:
    """A labelled text. Labels are 0, 1 or None; ``part`` names its template or group."""

    text: str
    toxicity: int | None
    identity_attack: int | None
    source: str
    part: str = ""


@dataclass(frozen=True)
class Splits:
    train: list[Row]
    test: list[Row]
    madlibs: list[Row]


def normal(text: str) -> str:
    """Lower case, words and digits only: the form in which texts count as equal."""
    return " ".join(re.findall(r"\w+", text.lower()))


def in_test(text: str, percent: int = 10) -> bool:
    """Whether a text's hash falls into the held-out share."""
    return int(hashlib.sha256(normal(text).encode()).hexdigest()[:8], 16) % 100 < percent


def read(data: Path, *, num_sentences: int, num_madlibs: int, seed: int) -> Splits:
    """All rows, split. Raises ScorerDataError naming the file that cannot be read."""
    rng = np.random.default_rng(seed)
    real = [*_davidson(data), *_wikipedia(data), *_toxigen(data)]
    real += [*_support(seed), *_dialogues(data), *_banking(data), *_everyday(data)]
    real += _blimp(data)
    own_test = list(suite_rows(min(SUITE_EACH, num_sentences // 50), seed=seed))
    test = [row for row in real if in_test(row.text)] + own_test
    madlibs = list(_madlibs(data))
    held_madlibs = [row for row in madlibs if row.part not in TRAINING_MADLIBS]
    kept_madlibs = [row for row in madlibs if row.part in TRAINING_MADLIBS]
    order = rng.permutation(len(kept_madlibs))[:num_madlibs]
    candidates = [
        *(row for row in real if not in_test(row.text)),
        *(kept_madlibs[i] for i in order),
        *(
            row
            for row in map(_row, sentences(num_sentences, seed=seed))
            if not _LIKE_A_HELD_OUT_MADLIB.match(row.text.lower())
        ),
    ]
    unseen = {normal(row.text) for row in (*test, *held_madlibs)}
    train = [row for row in _once(candidates) if normal(row.text) not in unseen]
    train += list(_tricks(train, rng))
    return Splits(train=train, test=list(_once(test)), madlibs=list(_once(held_madlibs)))


def _once(rows: Iterable[Row]) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows:
        if row.text not in seen:
            seen.add(row.text)
            yield row


def _row(one: Sentence, ending: str = "") -> Row:
    return Row(one.text, one.toxicity, one.identity_attack, "templates", one.family + ending)


def suite_rows(num_each: int, *, seed: int) -> Iterator[Row]:
    """The functional suite: each family with words of training, then with new ones."""
    for new_words in (False, True):
        for one in suite(num_each, seed=seed, new_words=new_words):
            yield _row(one, NEW_WORDS if new_words else "")


def _support(seed: int) -> list[Row]:
    """What a support desk answers, and must not be called toxic."""
    answers = (
        message.content
        for conversation in generate(NUM_SUPPORT, seed=seed)
        for message in conversation.messages
        if message.role == "assistant"
    )
    return [Row(text, 0, 0, "synth") for text in dict.fromkeys(answers)]


def _dialogues(data: Path) -> Iterator[Row]:
    """What people and assistants say when they book and order; none of it is an insult."""
    turns: dict[str, None] = {}
    for name, path in (
        ("sgd", "sgd/train.jsonl.gz"),
        ("taskmaster4", "taskmaster4/dialogs.jsonl.gz"),
    ):
        for conversation in sources.read(data / path, name):
            turns.update((message.content, None) for message in conversation.messages)
    for text in turns:
        yield Row(text, 0, 0, "dialogues", "booking and ordering")


def assistant_turns(data: Path) -> list[str]:
    """What assistants say in SGD's test split, which nothing is trained on: all harmless."""
    turns: dict[str, None] = {}
    for conversation in sources.read(data / "sgd/test.jsonl.gz", "sgd"):
        said = (one.content for one in conversation.messages if one.role == "assistant")
        turns.update((text, None) for text in said)
    return list(turns)


def _banking(data: Path) -> Iterator[Row]:
    for line in _table(data / "banking77/train.csv", "text"):
        yield Row(line["text"].strip(), 0, 0, "banking", "customers of a bank")


def _everyday(data: Path) -> Iterator[Row]:
    for line in _open(data / "hellaswag/hellaswag_val.jsonl.gz"):
        yield Row(json.loads(line)["ctx"], 0, 0, "everyday", "descriptions of everyday actions")


def _blimp(data: Path) -> Iterator[Row]:
    """Every sixth pair's good sentence: short plain statements about people and things."""
    path = data / "blimp/blimp.tsv.gz"
    reader = csv.DictReader(_open(path), delimiter="\t", quoting=csv.QUOTE_NONE)
    for i, line in enumerate(reader):
        if i % 6 == 0:
            yield Row(line["sentence_good"], 0, 0, "blimp", "plain sentences")


def _tricks(rows: list[Row], rng: np.random.Generator) -> Iterator[Row]:
    """Misspelt copies of an eighth of the short rows, harmless ones as well."""
    for row in rows:
        if row.source not in ("madlibs", "everyday", "blimp") and rng.random() < 0.125:
            text = misspell(row.text, rng)
            if rng.random() < 0.5:
                text = misspell(text, rng)
            yield Row(text, row.toxicity, row.identity_attack, row.source, row.part)


def _open(path: Path) -> Iterator[str]:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
                yield from file
        else:
            with path.open(encoding="utf-8", newline="") as file:
                yield from file
    except OSError as error:
        raise ScorerDataError(
            f"cannot read {path} ({error.strerror or error}); give the folder that holds "
            "davidson_hate, jigsaw_unintended_bias, toxigen, sgd, taskmaster4, banking77, "
            "hellaswag and blimp as --data"
        ) from error


def _table(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(_open(path))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise ScorerDataError(f"{path} has no column {', '.join(missing)}; is it another file?")
    yield from reader


def _davidson(data: Path) -> Iterator[Row]:
    """class 0 hate, 1 offensive, 2 neither, by majority of at least three annotators."""
    for line in _table(data / "davidson_hate/labeled_data.csv", "class", "tweet"):
        kind = int(line["class"])
        yield Row(line["tweet"], int(kind != 2), int(kind == 0), "davidson", str(kind))


def _wikipedia(data: Path) -> Iterator[Row]:
    path = data / "jigsaw_unintended_bias/toxicity_nonfuzzed_testset.csv"
    for line in _table(path, "comment", "toxic"):
        toxic = int(line["toxic"] == "True")
        yield Row(line["comment"], toxic, None if toxic else 0, "wikipedia")


def _toxigen(data: Path) -> Iterator[Row]:
    for line in _open(data / "toxigen/demonstrations.jsonl"):
        one = json.loads(line)
        hate = int(one["label"] == "hate")
        yield Row(one["text"], hate, hate, "toxigen", one["group"])
    for line in _open(data / "toxigen/prompts_first100.jsonl.gz"):
        one = json.loads(line)
        hate = int(one["label"] == "hate")
        for text in one["prompt"].split("\\n"):
            if text := text.strip().removeprefix("-").strip():
                yield Row(text, hate, hate, "toxigen", one["group"])


def _madlibs(data: Path) -> Iterator[Row]:
    """BAD phrases are toxic; whether they attack an identity is only clear for hate and love."""
    folder = data / "jigsaw_unintended_bias"
    for line in _table(folder / "bias_madlibs_77k.csv.gz", "Text", "Label", "Template"):
        toxic = int(line["Label"] == "BAD")
        aimed = toxic and line["Template"] in ("verb_adj", "am_hate_adj")
        attack = 1 if aimed else None if toxic else 0
        yield Row(line["Text"], toxic, attack, "madlibs", line["Template"])
    columns = ("phrase", "toxicity", "template")
    for line in _table(folder / "intersectional_madlibs.csv.gz", *columns):
        toxic = int(line["toxicity"] == "toxic")
        yield Row(line["phrase"], toxic, None if toxic else 0, "madlibs", line["template"])


def identities(data: Path) -> tuple[str, ...]:
    """The identity terms that the madlibs were made with, longest first."""
    path = data / "jigsaw_unintended_bias/unitary_results.csv"
    terms = {line["subgroup"] for line in _table(path, "subgroup")}
    return tuple(sorted(terms, key=lambda term: (-len(term), term)))
