"""Personal data that simulated customers let slip: what masking must find.

None of it is real: names are drawn from lists, card numbers pass Luhn's check on
issuers' test prefixes, phone numbers use blocks in national formats, e-mail
addresses use reserved domains (RFC 2606) and streets do not exist in their towns.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

PersonalKind = Literal["NAME", "EMAIL", "PHONE", "CARD", "ADDRESS"]

FIRST_NAMES = (
    "Anna", "Bela", "Carlos", "Chidi", "Daniel", "Elif", "Emma", "Fatima", "Grace", "Hannah",
    "Igor", "Ines", "James", "Jin", "Kofi", "Laura", "Lucia", "Maria", "Mei", "Mohammed",
    "Nadia", "Noor", "Olga", "Oliver", "Pedro", "Priya", "Quentin", "Rania", "Robert", "Sanjay",
    "Sofia", "Susan", "Tariq", "Thomas", "Tomasz", "Uma", "Victor", "Wanjiru", "Yuki", "Zofia",
)  # fmt: skip
LAST_NAMES = (
    "Abara", "Andersson", "Bakker", "Brown", "Chen", "Cohen", "Demir", "Dubois", "Eze", "Ferrari",
    "Garcia", "Haddad", "Hughes", "Ivanova", "Jansen", "Johnson", "Kim", "Kowalski", "Larsen",
    "Lopez", "Mbeki", "Meyer", "Nakamura", "Nguyen", "O'Brien", "Okafor", "Patel", "Petrov",
    "Rossi", "Sato", "Schmidt", "Silva", "Singh", "Smith", "Tanaka", "Taylor", "Wang", "Yilmaz",
)  # fmt: skip
_DOMAINS = ("example.com", "example.org", "mail.example.net", "post.example")
_STREETS = ("Oak", "Mill", "Station", "Church", "Victoria", "Elm", "Park", "Queens", "Orchard")
_STREET_KINDS = ("Street", "Road", "Avenue", "Lane", "Drive", "Close")
_TOWNS = ("Ashford", "Barton", "Kendal", "Newport", "Weston", "Milton")


@dataclass(frozen=True)
class Personal:
    kind: PersonalKind
    text: str


def name(rng: random.Random) -> Personal:
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    return Personal("NAME", f"{first} {last}")


def email(rng: random.Random) -> Personal:
    first, last = rng.choice(FIRST_NAMES).lower(), rng.choice(LAST_NAMES).lower().replace("'", "")
    local = rng.choice(
        (f"{first}.{last}", f"{first[0]}{last}{rng.randrange(100)}", f"{last}_{first}")
    )
    return Personal("EMAIL", f"{local}@{rng.choice(_DOMAINS)}")


def phone(rng: random.Random) -> Personal:
    tail = f"{rng.randrange(10_000):04d}"
    return Personal(
        "PHONE",
        rng.choice(
            (
                f"+44 20 7946 {tail}",
                f"020 7946 {tail}",
                f"(212) 555-{tail}",
                f"212-555-{tail}",
                f"+1 415 555 {tail}",
                f"+49 30 2345{tail}",
                f"07700 90{tail}",
            )
        ),
    )


def luhn_digit(digits: str) -> str:
    """The check digit that makes ``digits`` + it pass Luhn (ISO/IEC 7812-1, annex B)."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def card(rng: random.Random) -> Personal:
    body = rng.choice(("4111", "4242", "5555", "5105")) + "".join(
        str(rng.randrange(10)) for _ in range(11)
    )
    digits = body + luhn_digit(body)
    separator = rng.choice(("", " ", "-"))
    return Personal("CARD", separator.join(digits[i : i + 4] for i in range(0, 16, 4)))


def address(rng: random.Random) -> Personal:
    street = f"{rng.randrange(1, 200)} {rng.choice(_STREETS)} {rng.choice(_STREET_KINDS)}"
    town = rng.choice(("", f", {rng.choice(_TOWNS)}"))
    return Personal("ADDRESS", street + town)


def remark(rng: random.Random, intent: str) -> tuple[str, str, Personal]:
    """(said before the request, said after it, the personal data in it)."""
    if intent == "email":
        told = email(rng)
        return "", rng.choice((" The new one is {}.", " It is {} now.")).format(told.text), told
    if intent == "address":
        told = address(rng)
        return "", rng.choice((" It is {}.", " I live at {} now.")).format(told.text), told
    choice = rng.randrange(8)
    if choice <= 2:
        told = name(rng)
        opening = rng.choice(("My name is {}. ", "I am {}. ", "This is {}. ", "{} here. "))
        return opening.format(told.text), "", told
    if choice == 3:
        told = name(rng)
        closing = rng.choice((" Regards, {}", " Best wishes, {}", " Sincerely, {}"))
        return "", closing.format(told.text), told
    if choice == 4:
        told = phone(rng)
        closing = rng.choice((" My phone number is {}.", " You can call me at {}."))
        return "", closing.format(told.text), told
    if choice == 5:
        told = card(rng)
        closing = rng.choice((" I paid with card {}.", " My card is {}."))
        return "", closing.format(told.text), told
    if choice == 6:
        told = email(rng)
        closing = rng.choice((" My e-mail is {}.", " Write to {} please."))
        return "", closing.format(told.text), told
    told = Personal("NAME", rng.choice(LAST_NAMES))
    return rng.choice(("Mrs. {} here. ", "This is Mr. {}. ")).format(told.text), "", told
