"""Rows for checks and pre-training from a folder of public data sets, one function each.

The folder has one sub-folder per data set (``wikitext2_eval``, ``blimp``, ...). Each
docstring names the licence. Samples are seeded and keep the order of the source.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.records import UserError

Rows = list[dict[str, Any]]

TITLE = re.compile(r"^ = [^=].*[^=] = $")


class PublicDataError(UserError):
    """A public data set is missing or not in the form that it is published in."""


def wikitext(data: Path) -> dict[str, Rows]:
    """WikiText-2's validation and test articles, a document each (CC-BY-SA-3.0).

    Detokenised as lm-eval does, so that the text is what people write; ``<unk>`` stays.
    """
    folder = data / "wikitext2_eval"
    return {
        split: [
            {"id": f"{split}-{number:03d}", "text": detokenise(article), "group": "wikipedia"}
            for number, article in enumerate(_articles(folder / f"{file}.txt"))
        ]
        for split, file in (("validation", "valid"), ("test", "test"))
    }


def _articles(path: Path) -> Iterator[str]:
    """Text from one top-level title to the next. A title stands between blank lines; a
    lone ``= x =`` inside a table does not."""
    article: list[str] = []
    lines = _read(path).split("\n")
    for index, line in enumerate(lines):
        around = lines[index - 1 : index] + lines[index + 1 : index + 2]
        starts = TITLE.match(line) and not any(other.strip() for other in around)
        if starts and article:
            yield "\n".join(article)
            article = []
        if starts or article:
            article.append(line)
    if article:
        yield "\n".join(article)


def detokenise(text: str) -> str:
    """Undo WikiText's word splitting.

    Source: lm_eval/tasks/wikitext/preprocess_wikitext.py, lm-eval 0.4.13.
    """
    text = text.replace("s '", "s'")
    for sign in "-,.":
        text = text.replace(f" @{sign}@ ", sign)
    for sign in ":;.!?,":
        text = text.replace(f" {sign} ", f"{sign} ")
    text = re.sub(r"\(\s*([^\)]*?)\s*\)", r"(\1)", text)
    text = re.sub(r"\[\s*([^\]]*?)\s*\]", r"[\1]", text)
    text = re.sub(r"{\s*([^}]*?)\s*}", r"{\1}", text)
    text = re.sub(r"\"\s*([^\"]*?)\s*\"", r'"\1"', text)
    text = re.sub(r"'\s*([^']*?)\s*'", r"'\1'", text)
    for num_signs in (4, 3, 2):
        text = text.replace(" ".join("=" * num_signs), "=" * num_signs)
    text = text.replace(" \N{DEGREE SIGN} ", "\N{DEGREE SIGN}")
    text = text.replace(" \n", "\n").replace("\n ", "\n")
    return text.replace(" N ", " 1 ").replace(" 's", "'s")


def blimp(data: Path, *, per_paradigm: int, seed: int) -> Rows:
    """Minimal pairs, as many of each of the 67 paradigms (CC-BY-4.0)."""
    paradigms: dict[str, Rows] = defaultdict(list)
    text = _read(data / "blimp" / "blimp.tsv.gz")
    for line in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        paradigms[line["UID"]].append(
            {
                "id": f"{line['UID']}-{line['pairID']}",
                "good": line["sentence_good"],
                "bad": line["sentence_bad"],
                "group": line["UID"],
                "cluster": line["UID"],
            }
        )
    rng = random.Random(seed)
    return [row for rows in paradigms.values() for row in _sample(rows, per_paradigm, rng)]


def hellaswag(data: Path, num_items: int, *, seed: int) -> Rows:
    """Endings to choose from (MIT), cleaned as lm-eval's task does.

    The source has joined the two halves of each context, so the second half is not
    capitalised here as it is in lm-eval's task: figures differ a little from published ones.
    """
    found = []
    text = _read(data / "hellaswag" / "hellaswag_val.jsonl.gz")
    for number, line in enumerate(text.splitlines()):
        row = json.loads(line)
        found.append(
            {
                "id": f"hellaswag-{number:05d}",
                "context": _clean_hellaswag(row["ctx"]),
                "choices": [_clean_hellaswag(ending) for ending in row["endings"]],
                "gold": int(row["label"]),
                "group": row["ctx"].partition(":")[0],
            }
        )
    return _sample(found, num_items, random.Random(seed))


def _clean_hellaswag(text: str) -> str:
    """Source: lm_eval/tasks/hellaswag/utils.py, lm-eval 0.4.13."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def crows_pairs(data: Path) -> Rows:
    """Stereotyping against less stereotyping sentence (CC-BY-SA-4.0)."""
    text = _read(data / "crows_pairs" / "crows_pairs_anonymized.csv")
    return [
        {
            "id": f"crows-{row['']}",
            "sent_more": row["sent_more"],
            "sent_less": row["sent_less"],
            "bias_type": row["bias_type"],
        }
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]


def texts(data: Path) -> Rows:
    """Books and plays to pre-train on (public domain; tinyshakespeare's repository MIT)."""
    rows = []
    for line in _read(data / "classic_books" / "books.jsonl.gz").splitlines():
        book = json.loads(line)
        body = book["text"].partition("\n-------\n")[2] or book["text"]  # after title and year
        rows.append({"id": book["title"], "text": _tidy(body), "source": book["author"]})
    plays = _read(data / "tinyshakespeare" / "input.txt")
    rows.append({"id": "tinyshakespeare", "text": _tidy(plays), "source": "Shakespeare"})
    return rows


def _tidy(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text.replace("\r\n", "\n")).strip()


def _sample(rows: Rows, num: int, rng: random.Random) -> Rows:
    """``num`` rows, or all where there are fewer, in the order of the source."""
    if num >= len(rows):
        return rows
    return [rows[index] for index in sorted(rng.sample(range(len(rows)), num))]


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PublicDataError(
            f"{path} cannot be read ({error}); give the folder of public data sets"
        ) from error
