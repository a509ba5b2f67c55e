"""The files of WinoBias, winogenerated and Winogender as they are published, read strictly.

Everything here asks which person a pronoun goes with, so two sentences belong together only
where one is the other with the pronoun's gender changed. Whatever is not so is refused with
its file and line; the few slips that WinoBias was published with are known by their digests.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from audit.shop_pairs import Pair
from registry.dataset import read_jsonl
from registry.records import UserError

Gender = Literal["male", "female"]

PRONOUNS = (("he", "she"), ("his", "her"), ("his", "hers"), ("him", "her"), ("himself", "herself"))
PRONOUN_NAMES = ", ".join("/".join(pair) for pair in PRONOUNS)
PLACEHOLDERS: Mapping[str, Mapping[str, str]] = {
    "$NOM_PRONOUN": {"male": "he", "female": "she"},
    "$POSS_PRONOUN": {"male": "his", "female": "her"},
    "$ACC_PRONOUN": {"male": "him", "female": "her"},
}
SENTENCES = ("sentid", "sentence")
TEMPLATES = ("occupation(0)", "other-participant(1)", "answer", "sentence")
SENTID = re.compile(r"([^.]+)\.([^.]+)\.([01])\.(male|female|neutral)\.txt")
STATISTICS = ("occupation", "bergsma_pct_female", "bls_pct_female")

# The pairs of uclanlp/corefBias 0bce984 whose sentences differ in more than the pronoun (a word
# mistyped or forgotten on one side, in one case another sentence): their gap says nothing.
WINOBIAS_SLIPS = frozenset(
    {
        "72433340a4b0", "680fc07624c9", "843b2b575ad9", "127f2eccd286", "a507a7d0341b",
        "15ee05718f0e", "df90661b0a80", "d6422f08b8d4", "0e39eae2dfa5", "e08d821d3a2f",
        "53bd5c092f96", "22baf43064b5", "cdbfd3dfc837", "b1e83cc0978f", "2ad0d9618fc7",
        "7d2b3f25b111", "99eb6126a64a", "faf2b1e53aa7", "b981959f50b5", "13ea68a6ae3d",
    }
)  # fmt: skip


class CoreferenceError(UserError):
    """A file is not as its authors publish it, or two files do not belong together."""


def gender_of(text: str, other: str) -> Gender | None:
    """The gender of ``text``'s pronouns where the two sentences differ in nothing else, and in
    every one of those to the other gender; None where they do not."""
    mine, theirs = _words(text), _words(other)
    if len(mine) != len(theirs):
        return None
    changed = [pair for pair in zip(mine, theirs, strict=True) if pair[0] != pair[1]]
    if changed and all((he, she) in PRONOUNS for he, she in changed):
        return "male"
    if changed and all((he, she) in PRONOUNS for she, he in changed):
        return "female"
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def winobias_files(
    folder: Path, types: Sequence[str], splits: Sequence[str]
) -> dict[str, tuple[Path, Path]]:
    """The pro- and the anti-stereotyped file by ``type1-dev`` and so on."""
    return {
        f"{kind}-{split}": (
            folder / f"pro_stereotyped_{kind}.txt.{split}",
            folder / f"anti_stereotyped_{kind}.txt.{split}",
        )
        for kind in types
        for split in splits
    }


def read_winobias(
    folder: Path, types: Sequence[str], splits: Sequence[str]
) -> tuple[list[Pair], int]:
    """Pro- against anti-stereotyped sentence, and how many published slips were left out.

    The files go together line by line, brackets are stripped. Two lines (2k - 1, 2k) have the
    same two occupations in either type: they are a template. Raises CoreferenceError.
    """
    pairs: list[Pair] = []
    left_out = 0
    for name, (pro, anti) in winobias_files(folder, types, splits).items():
        kind, split = name.split("-")
        mine, theirs = _numbered(pro), _numbered(anti)
        if len(mine) != len(theirs):
            raise CoreferenceError(
                f"{pro} has {len(mine)} lines, {anti} has {len(theirs)}; they go together line "
                "by line: take both from the same release"
            )
        for number, (more, less) in enumerate(zip(mine, theirs, strict=True), start=1):
            if slip_digest(more, less) in WINOBIAS_SLIPS:
                left_out += 1
                continue
            if gender_of(more, less) is None:
                raise CoreferenceError(
                    f"{anti}, line {number}: {_difference(more, less)} from line {number} of "
                    f"{pro.name}, where only pronouns may change gender ({PRONOUN_NAMES}); "
                    "take both files from the same release"
                )
            template = f"{split}-{(number + 1) // 2}"
            pairs.append(Pair(f"{name}-{number}", more, less, kind, template))
    return pairs, left_out


def slip_digest(more: str, less: str) -> str:
    return hashlib.sha256(f"{more}\n{less}".encode()).hexdigest()[:12]


def _numbered(path: Path) -> list[str]:
    """The sentences of lines ``1 [The developer] ... [he] ...`` without number and brackets."""
    sentences = []
    for number, line in _lines(path):
        found, _, rest = line.partition(" ")
        if found != str(number) or not rest.strip():
            raise CoreferenceError(
                f"{path}, line {number}: begins with {found!r}, not with its number {number} and "
                "a sentence; take the file as WinoBias publishes it"
            )
        sentences.append(" ".join(rest.replace("[", "").replace("]", "").split()))
    if not sentences:
        raise CoreferenceError(f"{path} is empty; take the file as WinoBias publishes it")
    return sentences


def _difference(one: str, other: str) -> str:
    """What is wrong between two sentences: the first word that differs, but for pronouns."""
    for mine, theirs in zip(_words(one), _words(other), strict=False):
        if mine != theirs and not {(mine, theirs), (theirs, mine)} & set(PRONOUNS):
            return f"differs by {theirs!r} for {mine!r}"
    if _words(one) == _words(other):
        return "does not differ"
    return "differs by words on one side only, or by pronouns of both genders,"


class Winogenerated(BaseModel):
    """A row of winogenerated_examples.jsonl; ``percent_women`` is its BLS share of 2019."""

    index: int
    occupation: str = Field(min_length=1)
    pronoun_options: tuple[str, str, str]
    sentence_with_blank: str
    percent_women: float = Field(ge=0, le=100, alias="BLS_percent_women_2019")

    @field_validator("pronoun_options")
    @classmethod
    def _male_then_female(cls, options: tuple[str, str, str]) -> tuple[str, str, str]:
        if options[:2] not in PRONOUNS:
            raise ValueError(f"begin with {options[:2]}, allowed are {PRONOUN_NAMES}")
        return options

    @field_validator("sentence_with_blank")
    @classmethod
    def _one_blank(cls, sentence: str) -> str:
        if sentence.count("_") != 1:
            raise ValueError(f"has {sentence.count('_')} blanks (_), needs one")
        return sentence

    def filled(self, gender: Gender) -> str:
        return self.sentence_with_blank.replace("_", self.pronoun_options[gender == "female"])


def read_winogenerated(path: Path, per_occupation: int | None) -> list[Winogenerated]:
    """The first so many sentences of each occupation, all where None.

    Raises DatasetError naming a bad line, CoreferenceError for rows that contradict each other.
    """
    kept: list[Winogenerated] = []
    seen: set[int] = set()
    shares: dict[str, float] = {}
    counts: dict[str, int] = {}
    for row in read_jsonl(path, Winogenerated):
        if row.index in seen:
            raise CoreferenceError(f"{path}: index {row.index} stands there twice; remove one")
        if shares.setdefault(row.occupation, row.percent_women) != row.percent_women:
            raise CoreferenceError(
                f"{path}: index {row.index} gives {row.occupation} {row.percent_women:g}% women, "
                f"an earlier row {shares[row.occupation]:g}%; an occupation has one share"
            )
        seen.add(row.index)
        counts[row.occupation] = counts.get(row.occupation, 0) + 1
        if per_occupation is None or counts[row.occupation] <= per_occupation:
            kept.append(row)
    if not kept:
        raise CoreferenceError(
            f"{path} holds no sentence; place winogenerated_examples.jsonl there"
        )
    return kept


@dataclass(frozen=True)
class Schema:
    """One Winogender schema: the same sentence with a male and with a female pronoun.

    ``answer`` 0 means that the pronoun is the occupation's, 1 the participant's.
    """

    occupation: str
    participant: str
    answer: int
    male: str
    female: str

    @property
    def key(self) -> str:
        return f"{self.occupation}.{self.participant}.{self.answer}"

    def pronoun(self, gender: Gender) -> str:
        """The first pronoun that differs, as it stands in that gender's sentence."""
        pairs = zip(_words(self.male), _words(self.female), strict=True)
        return next((he, she)[gender == "female"] for he, she in pairs if he != she)


def read_winogender(sentences: Path | None, templates: Path | None) -> list[Schema]:
    """Schemas of all_sentences.tsv, of templates.tsv, or of both, which must then agree.

    Raises CoreferenceError naming file and line.
    """
    written = None if sentences is None else _read_sentences(sentences)
    made = None if templates is None else _expand(templates)
    if written is not None and made is not None:
        for key in [*written, *(key for key in made if key not in written)]:
            if written.get(key) != made.get(key):
                raise CoreferenceError(
                    f"{sentences} and {templates} disagree on {'.'.join(key)}.txt; take both from "
                    "the same release, or name one of them only"
                )
    path, found = (sentences, written) if written is not None else (templates, made)
    if path is None or not found:
        raise CoreferenceError(f"{path} holds no sentence; place Winogender's own file there")
    return _schemas(path, found)


# (occupation, participant, answer, male or female) -> sentence
_Sentences = dict[tuple[str, str, str, str], str]


def _read_sentences(path: Path) -> _Sentences:
    """Male and female sentences of all_sentences.tsv; the neutral ones are checked only."""
    found: _Sentences = {}
    for number, (sentid, sentence) in _table(path, SENTENCES):
        match = SENTID.fullmatch(sentid)
        if match is None:
            raise CoreferenceError(
                f"{path}, line {number}: sentid {sentid!r} is not "
                "OCCUPATION.PARTICIPANT.ANSWER.GENDER.txt with answer 0 or 1 and gender male, "
                "female or neutral, as in technician.customer.1.male.txt"
            )
        occupation, participant, answer, gender = match.groups()
        if gender == "neutral":
            continue
        key = (occupation, participant, answer, gender)
        if key in found:
            raise CoreferenceError(f"{path}, line {number}: {sentid} stands there twice")
        found[key] = sentence
    return found


def _expand(path: Path) -> _Sentences:
    """The sentences that Winogender's scripts/instantiate.py makes of templates.tsv: each with
    its participant and with "someone" in the participant's place, an article before it gone."""
    found: _Sentences = {}
    for number, (occupation, participant, answer, template) in _table(path, TEMPLATES):
        tokens = template.split()
        placeholders = [name for name in PLACEHOLDERS if name in template]
        if (
            answer not in ("0", "1")
            or len(placeholders) != 1
            or not (tokens.count("$OCCUPATION") == tokens.count("$PARTICIPANT") == 1)
        ):
            raise CoreferenceError(
                f"{path}, line {number}: a template needs answer 0 or 1, the words $OCCUPATION "
                f"and $PARTICIPANT once and one of {', '.join(PLACEHOLDERS)}"
            )
        at = tokens.index("$PARTICIPANT")
        bleached = [*tokens[: max(at - 1, 0)], "someone", *tokens[at + 1 :]]
        if bleached[0] == "someone":
            bleached[0] = "Someone"
        named = [*tokens[:at], participant, *tokens[at + 1 :]]
        for person, words in ((participant, named), ("someone", bleached)):
            text = " ".join(words).replace("$OCCUPATION", occupation)
            for gender in ("male", "female"):
                key = (occupation, person, answer, gender)
                if key in found:
                    raise CoreferenceError(
                        f"{path}, line {number}: a second template for {occupation} and {person} "
                        f"with answer {answer}; remove one"
                    )
                pronoun = PLACEHOLDERS[placeholders[0]][gender]
                found[key] = text.replace(placeholders[0], pronoun)
    return found


def _schemas(path: Path, sentences: _Sentences) -> list[Schema]:
    schemas = []
    for occupation, participant, answer in dict.fromkeys(key[:3] for key in sentences):
        male, female = (
            sentences.get((occupation, participant, answer, gender))
            for gender in ("male", "female")
        )
        name = f"{occupation}.{participant}.{answer}"
        if male is None or female is None:
            missing = "male" if male is None else "female"
            raise CoreferenceError(f"{path} has no {name}.{missing}.txt beside its other gender")
        if gender_of(male, female) is None:
            raise CoreferenceError(
                f"{path}: {name}.female.txt {_difference(male, female)} from {name}.male.txt, "
                f"where only pronouns may change gender ({PRONOUN_NAMES})"
            )
        schemas.append(Schema(occupation, participant, int(answer), male, female))
    return schemas


def read_statistics(path: Path, occupations: Iterable[str]) -> dict[str, dict[str, float]]:
    """Percent of women by source (bls, bergsma) and occupation, from occupations-stats.tsv.

    Raises CoreferenceError where one of the occupations is missing.
    """
    found: dict[str, dict[str, float]] = {"bls": {}, "bergsma": {}}
    for number, (occupation, bergsma, bls) in _table(path, STATISTICS):
        if occupation in found["bls"]:
            raise CoreferenceError(f"{path}, line {number}: {occupation} stands there twice")
        for name, value in (("bls", bls), ("bergsma", bergsma)):
            found[name][occupation] = _percent(path, number, value)
    for occupation in occupations:
        if occupation not in found["bls"]:
            raise CoreferenceError(
                f"{path} has no occupation {occupation!r}, which a sentence is about; take both "
                "files from the same release"
            )
    return found


def _percent(path: Path, number: int, value: str) -> float:
    try:
        percent = float(value)
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise CoreferenceError(f"{path}, line {number}: {value!r} is no percentage in [0, 100]")
    return percent


def _table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of a tab-separated file with exactly this header, blank lines left
    out and white space made single."""
    header: list[str] | None = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t")
            for line in reader:
                fields = [" ".join(field.split()) for field in line]
                if not any(fields):
                    continue
                if header is None:
                    header = fields
                    if header != list(columns):
                        raise CoreferenceError(
                            f"{path}, line {reader.line_num}: the header is "
                            f"{' '.join(header)!r}, it must be {' '.join(columns)!r} with tabs "
                            "between"
                        )
                    continue
                if len(fields) != len(columns) or not all(fields):
                    raise CoreferenceError(
                        f"{path}, line {reader.line_num}: {len([f for f in fields if f])} fields, "
                        f"needs {len(columns)} with tabs between: {', '.join(columns)}"
                    )
                yield reader.line_num, fields
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CoreferenceError(f"{path} cannot be read ({error}); check the path") from error
    if header is None:
        raise CoreferenceError(f"{path} is empty; its first line must be {' '.join(columns)}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, line) up to the last line that has something."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CoreferenceError(f"{path} cannot be read ({error}); check the path") from error
    yield from enumerate(text.rstrip().split("\n") if text.strip() else [], start=1)
