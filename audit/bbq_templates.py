"""BBQ's categories made from their templates, where the official files are not at hand.

A template has two people, NAME1 and NAME2. Who fills the places comes from the template's
own lists, from the vocabulary, or from the list of proper names, by the rules of section 3
of the paper; each filling gives four examples (context ambiguous or disambiguated, question
negative or not), most are given with the two people changed round too. A seed decides the
draws, so the same files give the same examples everywhere. Against the official files:

- the draws differ (which five words of many, the wording of UNKNOWN, the order);
- the three answers take each place equally often, where the official order is random;
- a note that belongs to a place ("who is trans") stays with the place when the people are
  changed round, where the official notes move along and then contradict the text;
- of two people of the same gender no filling is made (the official 16 have no target);
- one adjective or job is drawn for every filling, and stray braces are dropped.

Source: Parrish et al. 2022, BBQ, https://arxiv.org/abs/2110.08193, section 3 and appendix A.
"""

from __future__ import annotations

import ast
import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audit.bbq_data import ANSWERS, UNKNOWN_PHRASES, BbqError, Example, Metadata
from audit.bbq_people import Draw, Pair, Template, Vocabulary, pairs_of

VOCABULARY = "vocabulary.csv"
PROPER_NAMES = "vocabulary_proper_names.csv"
LISTED = re.compile(r"(NAME|WORD)([12])\}*\s*:\s*\[([^\]]*)\]")
VOWEL_AFTER_A = re.compile(r"(\s[aA])(\s[aeiouAEIOU])")
TEXTS = {
    "ambig": "Ambiguous_Context",
    "disambig": "Disambiguating_Context",
    "neg": "Question_negative_stereotype",
    "nonneg": "Question_non_negative",
    "answer_neg": "Answer_negative",
    "answer_nonneg": "Answer_non_negative",
}
ORDERS = tuple(itertools.permutations(range(3)))


def template_files(path: Path) -> dict[str, Path]:
    """The templates' files by category, with both vocabularies; empty where there are none."""
    folders = [folder for folder in (path / "templates", path) if (folder / VOCABULARY).is_file()]
    if not folders or not (folders[0] / PROPER_NAMES).is_file():
        return {}
    files = {file.stem.removeprefix("new_templates - "): file for file in folders[0].glob("*.csv")}
    return {name: files[name] for name in sorted(files) if name != "Filler_items"}


def expand(files: Mapping[str, Path], category: str, *, seed: int) -> list[Example]:
    """The examples of ``category`` from ``template_files``, drawn with ``seed``.

    Raises BbqError where a file cannot be read or a template lacks what it needs.
    """
    rng = np.random.default_rng([seed, *category.encode()])
    draw = Draw(rng)
    vocabulary = read_vocabulary(files)
    examples: list[Example] = []
    orders: list[int] = []
    for template in read_templates(files[category], category):
        choices = wordings(template)
        for pair in pairs_of(template, vocabulary, draw):
            if not orders:
                orders = [int(n) for n in rng.permutation(len(ORDERS))]
            order = ORDERS[orders.pop()]
            words, unknown = draw.one(choices), draw.one(UNKNOWN_PHRASES)
            examples += fill(template, pair, words, unknown, order, first_id=len(examples))
    return examples


def read_templates(path: Path, category: str) -> list[Template]:
    """The templates of one file, in its order, without its empty lines."""
    rows = _rows(path, (*TEXTS.values(), "Q_id", "Lexical_diversity", _groups(category)))
    return [_template(row, category) for row in rows if row["Ambiguous_Context"]]


def _groups(category: str) -> str:
    return "Known_stereotyped_race" if "_x_" in category else "Known_stereotyped_groups"


def _template(row: Mapping[str, str], category: str) -> Template:
    crossed = "_x_" in category
    names = row.get("Names", "")
    words = {f"{kind}{place}": _split(items) for kind, place, items in LISTED.findall(
        f"{'' if crossed else names}; {row['Lexical_diversity']}"
    )}  # fmt: skip
    second = _literal(names) if crossed and names else []
    return Template(
        category=category,
        question_index=row["Q_id"].strip(),
        version=row.get("version", "None"),
        subcategory=row.get("Subcategory", "") or "None",
        groups=tuple(_literal(row[_groups(category)])),
        texts={name: row[column] for name, column in TEXTS.items()},
        lists=words,
        infos=(row.get("NAME1_info", ""), row.get("NAME2_info", "")),
        proper_names=row.get("Proper_nouns_only", "").upper() == "TRUE",
        second_target=row.get("Known_stereotyped_var2", ""),
        second_words={
            info: (word,) if isinstance(word, str) else tuple(word)
            for info, word in zip(_literal(row.get("Var2_info", "")), second, strict=True)
        }
        if second
        else {},
        stated_gender=row.get("Stated_gender_info", ""),
        source=row.get("Notes", ""),
    )


def read_vocabulary(files: Mapping[str, Path]) -> Vocabulary:
    """Words and proper names; the words that the authors left out of their data are not there."""
    columns = ("Category", "Pilot_include", "SubCat", "Name", "Info")
    words = [r for r in _rows(files["vocabulary"], columns) if r["Pilot_include"] != "No"]
    columns = ("Name", "First_last", "gender", "ethnicity", "info")
    return Vocabulary(
        words=tuple((r["Category"], r["SubCat"], r["Name"], r["Info"]) for r in words),
        names=tuple(
            (r["Name"], r["First_last"], r["gender"], r["ethnicity"])
            for r in _rows(files["vocabulary_proper_names"], columns)
        ),
    )


def _rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise BbqError(f"{path} has no column {', '.join(missing)}; give BBQ's own CSV")
            return [{key: value or "" for key, value in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BbqError(f"{path} cannot be read ({error}); give BBQ's own templates") from error


def _split(items: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in re.split(r"[,;]", items))


def _literal(text: str) -> list[Any]:
    try:
        return list(ast.literal_eval(text)) if text else []
    except (ValueError, SyntaxError) as error:
        raise BbqError(f"a template's list {text!r} cannot be read; mend the CSV") from error


def wordings(template: Template) -> list[dict[str, str]]:
    """All choices of the words that only vary the text: one per combination of its lists."""
    slots = [name for name in ("WORD1", "WORD2") if name in template.lists]
    lists = [template.lists[name] for name in slots]
    return [dict(zip(slots, choice, strict=True)) for choice in itertools.product(*lists)]


def fill(
    template: Template,
    pair: Pair,
    words: Mapping[str, str],
    unknown: str,
    order: Sequence[int],
    *,
    first_id: int,
) -> list[Example]:
    """The four examples of one filling.

    ``order`` says which of (answer of the negative question, answer of the other, UNKNOWN)
    stands at each place.
    """
    slots = {**words, **pair.slots()}
    texts = {name: _slotted(text, slots, pair) for name, text in template.texts.items()}
    people = pair.people if _names_first(template) else pair.people[::-1]
    answers = (texts["answer_neg"], texts["answer_nonneg"], unknown)
    notes = (*((person.text, person.info) for person in people), (unknown, "unknown"))
    whole = f"{texts['ambig'].strip()} {texts['disambig']}".strip()
    metadata = Metadata(
        subcategory=pair.subcategory or template.subcategory,
        stereotyped_groups=template.groups,
        version=template.version,
        source=template.source,
    )
    right = {"neg": order.index(0), "nonneg": order.index(1)}
    return [
        Example(
            example_id=first_id + number,
            question_index=template.question_index,
            question_polarity="neg" if polarity == "neg" else "nonneg",
            context_condition="ambig" if condition == "ambig" else "disambig",
            category=template.category,
            answer_info={name: notes[order[place]] for place, name in enumerate(ANSWERS)},
            additional_metadata=metadata,
            context=texts["ambig"].strip() if condition == "ambig" else whole,
            question=texts[polarity].strip(),
            ans0=answers[order[0]],
            ans1=answers[order[1]],
            ans2=answers[order[2]],
            # BBQ's labels are the three places; an index is a plain int for the type checker
            label=order.index(2) if condition == "ambig" else right[polarity],  # type: ignore[arg-type]
        )
        for number, (polarity, condition) in enumerate(
            itertools.product(("neg", "nonneg"), ("ambig", "disambig"))
        )
    ]


def _names_first(template: Template) -> bool:
    """Whether the negative question's answer is the person of the first place."""
    named = [f"{{{{NAME{place}}}}}" in template.texts["answer_neg"] for place in (1, 2)]
    if named[0] == named[1]:
        raise BbqError(
            f"template {template.category}-{template.question_index}: its negative answer must "
            "name one of NAME1 and NAME2; mend the CSV"
        )
    return named[0]


def _slotted(text: str, slots: Mapping[str, str], pair: Pair) -> str:
    for name, word in slots.items():
        text = text.replace("{{" + name + "}}", word)
    text = text.replace("{", "").replace("}", "")
    text = text.replace("lesbian man", "lesbian woman").replace("Latino woman", "Latina woman")
    if any(word[:1].lower() in "aeiou" for word in pair.slots().values()):
        text = VOWEL_AFTER_A.sub(r"\1n\2", text).replace(" an European", " a European")
    return text
