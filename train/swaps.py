"""Word lists for counterfactuals: the same text with the genders of its words swapped.

Nouns and titles by a list of pairs, first names by another, pronouns by their part of
speech: "her" becomes "his" before a noun phrase and "him" elsewhere, "his" becomes "her"
or "hers". That part is guessed from the next word alone: "gave her two weeks" comes out
wrong. Case is kept, and a possessive's ending ("mother's") stays. It does not know who a
word is about: all of a text is swapped, or none.
Source: Zhao et al. 2018, Gender Bias in Coreference Resolution,
https://arxiv.org/abs/1804.06876, section 3.2 (data augmentation); names as in Hall Maudslay
et al. 2019, https://arxiv.org/abs/1909.00871, section 3, by pairs of our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from registry.records import UserError

# Each goes both ways.
PAIRS = (
    ("actor", "actress"), ("actors", "actresses"), ("aunt", "uncle"), ("aunts", "uncles"),
    ("boy", "girl"), ("boys", "girls"), ("boyfriend", "girlfriend"),
    ("boyfriends", "girlfriends"), ("bride", "groom"), ("brides", "grooms"),
    ("brother", "sister"), ("brothers", "sisters"), ("businessman", "businesswoman"),
    ("businessmen", "businesswomen"), ("chairman", "chairwoman"), ("chairmen", "chairwomen"),
    ("dad", "mum"), ("dads", "mums"), ("daughter", "son"), ("daughters", "sons"),
    ("father", "mother"), ("fathers", "mothers"), ("female", "male"), ("females", "males"),
    ("fiance", "fiancee"), ("gentleman", "lady"), ("gentlemen", "ladies"),
    ("grandfather", "grandmother"), ("grandfathers", "grandmothers"), ("grandma", "grandpa"),
    ("granddaughter", "grandson"), ("granddaughters", "grandsons"), ("guy", "gal"),
    ("guys", "gals"), ("he", "she"), ("hero", "heroine"), ("heroes", "heroines"),
    ("himself", "herself"), ("host", "hostess"), ("hosts", "hostesses"), ("husband", "wife"),
    ("husbands", "wives"), ("king", "queen"), ("kings", "queens"), ("landlady", "landlord"),
    ("man", "woman"), ("men", "women"), ("mr", "ms"), ("mr.", "ms."), ("nephew", "niece"),
    ("nephews", "nieces"), ("policeman", "policewoman"), ("policemen", "policewomen"),
    ("prince", "princess"), ("princes", "princesses"), ("salesman", "saleswoman"),
    ("salesmen", "saleswomen"), ("sir", "madam"), ("stepdaughter", "stepson"),
    ("stepfather", "stepmother"), ("steward", "stewardess"), ("stewards", "stewardesses"),
    ("waiter", "waitress"), ("waiters", "waitresses"), ("widow", "widower"),
)  # fmt: skip
# These have no way back of their own.
ONE_WAY = {
    "ma'am": "sir", "mom": "dad", "moms": "dads", "miss": "mr", "mrs": "mr", "mrs.": "mr.",
}  # fmt: skip
PRONOUNS = ("her", "hers", "him", "his")
# Common names that are no other word, most often a man's and most often a woman's.
NAMES = (
    ("Adam", "Anna"), ("Ahmed", "Aisha"), ("Alan", "Alice"), ("Andrew", "Amanda"),
    ("Anthony", "Angela"), ("Arjun", "Priya"), ("Brian", "Brenda"), ("Carlos", "Carmen"),
    ("Daniel", "Danielle"), ("David", "Deborah"), ("Dmitri", "Svetlana"), ("Edward", "Emily"),
    ("Eric", "Erica"), ("George", "Helen"), ("Hans", "Heidi"), ("Hassan", "Fatima"),
    ("Henry", "Hannah"), ("Igor", "Olga"), ("James", "Mary"), ("John", "Jane"),
    ("Jorge", "Lucia"), ("Joseph", "Julia"), ("Kenji", "Keiko"), ("Kevin", "Karen"),
    ("Luca", "Giulia"), ("Luis", "Luisa"), ("Marco", "Maria"), ("Michael", "Michelle"),
    ("Mohammed", "Maryam"), ("Omar", "Leila"), ("Oliver", "Olivia"), ("Paul", "Paula"),
    ("Pedro", "Sofia"), ("Peter", "Petra"), ("Raj", "Neha"), ("Richard", "Rachel"),
    ("Robert", "Rebecca"), ("Stephen", "Stephanie"), ("Thomas", "Teresa"),
    ("William", "Wendy"),
)  # fmt: skip

_NO_NOUN_TEXT = """
a about after again all also an and another any are as at away back be because been before but by
can could did do does down during for from had has have he her here hers him his how i if in into
is it its later like may me might must my no not now of off on once or our out over please she
should since so some soon than that the their them then there these they this those through to
today together tomorrow tonight too twice under until up us very was we were what when where
which while who why will with without would yesterday you your
"""
# Words that begin no noun phrase behind a possessive: "told her that", "called her again".
_NO_NOUN = frozenset(_NO_NOUN_TEXT.split())
_NEXT_WORD = re.compile(r"[ \t\n]+[\"'(\u2018\u201c]?([^\W\d_]+)")


class SwapListError(UserError):
    """A list of pairs cannot be read."""


class Swaps:
    """A list of pairs, ready to be used. ``words`` maps small letters to small letters."""

    def __init__(self, words: Mapping[str, str], names: Mapping[str, str]) -> None:
        self.words = {**words, **dict.fromkeys(PRONOUNS, "")}
        self.names = dict(names)
        forms = sorted({*self.words, *map(str.lower, self.names)}, key=len, reverse=True)
        # No match inside a word; behind "mr." the full stop is its end.
        alternatives = "|".join(map(re.escape, forms)).replace("'", "['\u2019]")
        self._pattern = re.compile(rf"(?<![\w'\u2019-])(?:{alternatives})(?!\w)", re.IGNORECASE)

    def text(self, text: str) -> str:
        """The counterfactual text; the same text where nothing in it is of the lists."""
        return self._pattern.sub(self._swapped, text)

    def _swapped(self, found: re.Match[str]) -> str:
        form = found.group()
        if form in self.names:
            return self.names[form]
        if form.isupper() and form.capitalize() in self.names:
            return self.names[form.capitalize()].upper()
        word = form.lower().replace("\u2019", "'")
        if word in PRONOUNS:
            return _in_case_of(form, _other_pronoun(word, form, found.string[found.end() :]))
        if word not in self.words:  # a name in small letters may be a word
            return form
        return _in_case_of(form, self.words[word])


def _other_pronoun(word: str, form: str, rest: str) -> str:
    if word == "him":
        return "her"
    if word == "hers":
        return "his"
    following = _NEXT_WORD.match(rest)
    possessive = following is not None and (
        following.group(1).lower() not in _NO_NOUN or form == "Her"
    )
    if word == "her":
        return "his" if possessive else "him"
    return "her" if possessive else "hers"


def _in_case_of(form: str, word: str) -> str:
    if form.isupper():
        return word.upper()
    return word.capitalize() if form[0].isupper() else word


def shipped_swaps(*, names: bool = True) -> Swaps:
    """The lists of this module."""
    return Swaps(_both_ways(PAIRS) | ONE_WAY, _both_ways(NAMES) if names else {})


def read_swaps(paths: Sequence[Path], *, names: bool = True) -> Swaps:
    """Pairs from files of one pair per line, a tab between, as WinoBias has them.

    The first line that begins with a word decides its other; a word that only ever stands
    second goes back to the first that named it. Lines of pronouns are left out: their part
    of speech decides. Raises SwapListError naming file and line.
    """
    pairs: list[tuple[str, str]] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SwapListError(
                f"cannot read the pairs in {path} ({error}); give a UTF-8 text file"
            ) from error
        for number, line in enumerate(lines, start=1):
            words = [word.strip().lower() for word in line.split("\t")]
            if not line.strip() or set(words) & set(PRONOUNS):
                continue
            if len(words) != 2 or not all(words):
                raise SwapListError(
                    f"{path}, line {number}: not two words with a tab between; mend the line"
                )
            pairs.append((words[0], words[1]))
    if not pairs:
        raise SwapListError(f"{', '.join(map(str, paths))}: no pair of words in it")
    table: dict[str, str] = {}
    for first, second in pairs:
        table.setdefault(first, second)
    for first, second in pairs:
        table.setdefault(second, first)
    return Swaps(table, _both_ways(NAMES) if names else {})


def _both_ways(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {one: other for pair in pairs for one, other in (pair, pair[::-1])}
