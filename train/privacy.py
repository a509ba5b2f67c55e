"""Masking of personal data: ``[EMAIL]``, ``[CARD]``, ``[PHONE]``, ``[ADDRESS]``, ``[NAME]``.

Patterns find candidates; Luhn's check (python-stdnum) decides on card numbers and
numbering plans (phonenumbers) on telephone numbers, so that order numbers, amounts and
dates stay. Names are found where a sentence presents one ("my name is", a title, a
signature) and where a known first name stands before another capitalised word.

It does not know: names without any such sign, addresses without a kind of street, and
personal data spelled out in words. Names of public persons are masked like any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from train.privacy_names import FIRST_NAMES


@dataclass(frozen=True)
class Masked:
    """The text without personal data, and how many pieces of each kind were masked."""

    text: str
    counts: Mapping[str, int]


# Where in the text the personal data of a match lies; None where it is none after all.
Span = tuple[int, int] | None


@dataclass(frozen=True)
class Rule:
    """One way in which personal data shows. ``sign`` must occur for the pattern to be tried."""

    kind: str
    pattern: re.Pattern[str]
    locate: Callable[[re.Match[str]], Span]
    sign: str = ""


_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞĢĪİĶŁĻŃŅŇŌŐŒŔŘŚŞŠŢŤŪŮŰŹŻŽ"
_CAPITAL = rf"[{_UPPER}][\w'\u2019-]*"
_PARTICLE = r"(?:van|von|de|del|der|da|di|la|bin|al)"
_MORE = rf"\s+(?:[{_UPPER}]\.\s+|{_PARTICLE}\s+){{0,2}}{_CAPITAL}"  # "M. Walker", "van Dijk"
_NAME = rf"(?P<name>{_CAPITAL}(?:{_MORE}){{0,3}})"
_STREET = (
    "Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Close|Boulevard|Blvd|Court|Ct|Way|Place|Pl|"
    "Square|Sq|Terrace|Highway|Hwy|Parkway|Pkwy|Circle|Expressway|Plaza|Alley|Crescent|Real|Mall"
)
_SHORT = "St|Rd|Ave|Ln|Dr|Blvd|Ct|Pl|Sq|Hwy|Pkwy"
_NO_STREET = (
    "the|on|to|for|at|in|of|a|an|and|or|more|is|near|from|by|with|people|persons|person|tickets|"
    "nights|rooms|miles|minutes|blocks|days|hours|euro|order|down|along|off"
)
_TOWN = rf"[{_UPPER}][^\W\d]*\b"
_ADDRESS = rf"""(?<![\w.,:-])(?:
    (?:\d{{1,5}}[A-Za-z]?(?:-\d{{1,5}})?\s+                     # 71 North San Pedro Street
       (?:(?:{_CAPITAL}|\d{{1,3}}(?:st|nd|rd|th))\.?\s+){{1,4}}
       (?:(?:{_SHORT})\.|(?:{_STREET})\b)
     | \d{{1,5}}[a-z]?\s+(?:(?!(?:{_NO_STREET})\b)[a-z-]+\s+){{1,3}}    # 12 oak street
       (?:street|road|avenue|lane|drive|boulevard)\b
     | {_CAPITAL}(?:stra(?:ss|ß)e|weg|platz|allee|gasse|straat)\s+\d{{1,4}}[a-z]?\b
     | P\.?\s?O\.?\s+Box\s+\d+
    )
    (?:,?\s+(?:\#\s?\w+|(?:Suite|Ste|Apt|Apartment|Unit|Floor|Flat)\.?\s+\#?\w+))?
    (?:,\s+(?!I\b){_TOWN}(?:\s+(?!I\b){_TOWN})?)?                 # , Milton Keynes
    (?:,?\s+[A-Z]{{2}}\s+\d{{5}}(?:-\d{{4}})?)?                        # , CA 94301
    (?:,?\s+[A-Z]{{1,2}}\d[A-Z\d]?\s+\d[A-Z]{{2}}\b)?                  # , SW1A 1AA
)"""

# Shapes of telephone numbers, from the surest to those that only a context makes one.
_PHONE = r"""(?<![\w+@\#-])(?:
    (?P<plus>\+\s?\d[\d\s().-]{5,16}\d)
  | (?P<nanp>(?:1[\s.-])?(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]\d{4})
  | (?P<trunk>\(?0\d{1,5}\)?[\s./-]?\d[\d\s.-]{4,10}\d)
  | (?<!\d\s)(?P<grouped>\d{2,4}\s\d{3,4}\s\d{4})(?!\s?\d)
  | (?P<loose>(?:\d{1,4}[\s.-]){1,5}\d{2,4}|\d{4,5}\s\d{5,6}|\d{7,12})
)(?!\w)(?!-\d)"""
_PHONE_CONTEXT = re.compile(
    r"\b(?:telephone|phone|call|contact|reach|dial|fax|mobile|ring|tel|number is)\b",
    re.IGNORECASE,
)
_CONTEXT_CHARS = 80
_DATE = re.compile(
    r"\d{4}[-.]\d\d?[-.]\d\d?|\d\d?[-.]\d\d?[-.]\d{4}|(?:19|20)\d\d[\s-]+(?:19|20)\d\d"
)

# Words after "my name is" or "I am", or beside a first name, that are no names.
_NO_NAME_TEXT = """
a about also american an and any april are asian at august available back be but by calling can
chinese coming correct could december do done english february fine for french friday from
german going good great happy hello here hey hi home how i i'd i'll i'm i've if in indian
interested is it italian january japanese july june just later looking march may me mexican
monday my new no not november october of off ok okay on one or order our please ready really
right saturday september so sorry spanish spelled still sunday sure thank thanks that the then
there this thursday to today tomorrow too trying tuesday under very waiting was we wednesday
well what when where which who why with would wrong yes you your
"""
_NO_NAME = frozenset(_NO_NAME_TEXT.split())

_SAINTS = ("San", "Santa", "St", "Saint")  # a town follows: San Francisco


@cache
def _luhn() -> Callable[[str], bool]:
    from stdnum import luhn

    check: Callable[[str], bool] = luhn.is_valid
    return check


@lru_cache(maxsize=65_536)
def _possible(number: str, region: str | None) -> bool:
    """Whether a number has a length that its numbering plan allows."""
    import phonenumbers

    try:
        return bool(phonenumbers.is_possible_number(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False


def _whole(found: re.Match[str]) -> Span:
    return found.span()


def _card(found: re.Match[str]) -> Span:
    digits = re.sub(r"\D", "", found.group())
    return found.span() if len(set(digits)) > 1 and _luhn()(digits) else None


def _phone(found: re.Match[str]) -> Span:
    shape, number = found.lastgroup, found.group()
    digits = sum(character.isdigit() for character in number)
    if shape == "grouped":
        return found.span()
    if shape == "nanp":
        return found.span() if _possible(number, "US") else None
    if shape == "plus":
        while number:  # figures may follow the number: drop the last group until it fits
            if _possible(number, None):
                return found.start(), found.start() + len(number)
            number = number.rpartition(" ")[0].rstrip()
        return None
    if _DATE.fullmatch(number):
        return None
    if shape == "trunk" and digits >= 9 and (_possible(number, "GB") or _possible(number, "DE")):
        return found.span()
    before = found.string[max(0, found.start() - _CONTEXT_CHARS) : found.start()]
    if 7 <= digits <= 12 and _PHONE_CONTEXT.search(before):
        return found.span()
    return None


def _words(found: re.Match[str]) -> list[re.Match[str]]:
    """The words of the group ``name`` up to the first that is no name."""
    start, end = found.span("name")
    words = []
    for word in re.finditer(r"[^\s.,]+", found.string[:end][start:]):
        if word.group().lower() in _NO_NAME:
            break
        words.append(word)
    return words


def _span(found: re.Match[str], words: list[re.Match[str]]) -> Span:
    if not words:
        return None
    start = found.start("name")
    return start + words[0].start(), start + words[-1].end()


def _named(found: re.Match[str]) -> Span:
    """A name for sure: only words that cannot be one end it."""
    return _span(found, _words(found))


def _perhaps_named(found: re.Match[str]) -> Span:
    """A name where it has two words or starts with a known first name."""
    words = _words(found)
    sure = len(words) > 1 or (bool(words) and words[0].group() in FIRST_NAMES)
    return _span(found, words) if sure else None


def _known_name(found: re.Match[str]) -> Span:
    """A name from the first word that is a known first name."""
    words = _words(found)
    for index, word in enumerate(words):
        saint = index > 0 and words[index - 1].group() in _SAINTS
        if word.group() in FIRST_NAMES and not saint:
            return _span(found, words[index:])
    return None


def _full_name(found: re.Match[str]) -> Span:
    """A known first name with at least one word after it."""
    span = _known_name(found)
    return span if span and re.search(r"\s", found.string[slice(*span)]) else None


def _rules() -> tuple[Rule, ...]:
    def name(pattern: str, locate: Callable[[re.Match[str]], Span], sign: str = "") -> Rule:
        return Rule("NAME", re.compile(pattern, re.MULTILINE), locate, sign)

    return (
        Rule("EMAIL", re.compile(r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)+"), _whole, "@"),
        Rule("CARD", re.compile(r"(?<![\d+-])\d(?:[ -]?\d){12,18}(?![\d-])"), _card, "digit"),
        Rule("PHONE", re.compile(_PHONE, re.VERBOSE), _phone, "digit"),
        Rule("ADDRESS", re.compile(_ADDRESS, re.VERBOSE), _whole, "digit"),
        name(
            rf"\b(?i:my|her|his|full|first|last)\s+(?i:name(?:\s+is|'s|\u2019s|:))\s+"
            rf"(?:{_NAME}|(?P<low>[^\W\d_]+(?:\s+[^\W\d_]+)?))",
            _introduced,
            "name",
        ),
        name(
            rf"\b(?i:under\s+the\s+name(?:\s+of)?|call\s+me|speaking\s+(?:with|to))\s+{_NAME}",
            _named,
        ),
        name(rf"\b(?i:mr|mrs|ms|miss|mx|dr|prof|professor|herr|frau)\b\.?\s+{_NAME}", _named),
        name(
            rf"\b(?i:regards|best\s+wishes|sincerely|yours(?:\s+\w+)?|faithfully)[,.]?\s+{_NAME}"
            r"(?=\s*[.!]?\s*(?:\Z|\n))",
            _named,
        ),
        name(rf"\b(?i:I\s+am|I'm|I\u2019m)\s+{_NAME}", _perhaps_named),
        name(rf"\A(?i:this\s+is|it's)\s+{_NAME}", _perhaps_named),
        name(rf"(?:^|(?<=[.!?,]\s)){_NAME}(?=\s+(?:here|speaking)\b)", _perhaps_named),
        name(
            r"\b(?i:hi|hello|hey|dear|thanks|thank\s+you|cheers|bye|goodbye|best|this\s+is|for),?"
            rf"\s+{_NAME}",
            _known_name,
        ),
        name(rf"\b(?P<name>{_CAPITAL}(?:{_MORE}){{1,3}})", _full_name),
    )


def _introduced(found: re.Match[str]) -> Span:
    """After "my name is" small letters may be a name too."""
    if found.group("name") is not None:
        return _named(found)
    words = []
    for word in re.finditer(r"\S+", found.group("low")):
        if word.group().lower() in _NO_NAME:
            break
        words.append(word)
    if not words:
        return None
    start = found.start("low")
    return start + words[0].start(), start + words[-1].end()


_compiled = cache(_rules)


def mask(text: str) -> Masked:
    """Replace personal data by the name of its kind in brackets.

    Masking a masked text changes nothing.
    """
    counts: Counter[str] = Counter()
    while True:
        before = text
        for rule in _compiled():
            text = _apply(rule, text, counts)
        if text == before:
            return Masked(text, dict(counts))


def _apply(rule: Rule, text: str, counts: Counter[str]) -> str:
    if rule.sign == "digit":
        if not any(map(str.isdigit, text)):
            return text
    elif rule.sign and rule.sign not in text.lower():
        return text
    pieces, end = [], 0
    for found in rule.pattern.finditer(text):
        span = rule.locate(found)
        if span is not None and span[0] >= end:
            pieces += [text[end : span[0]], f"[{rule.kind}]"]
            end = span[1]
            counts[rule.kind] += 1
    return "".join([*pieces, text[end:]]) if pieces else text
