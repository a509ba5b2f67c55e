"""Many rows at once: the same rows as one by one, in few statements."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from registry.conversation import Message
from registry.ledger import Ledger
from registry.store import ROWS_AT_ONCE
from tests.ledgers import NOON, request

MANY = 2 * ROWS_AT_ONCE + 3


def test_a_large_batch_is_kept_as_it_was(ledger: Ledger) -> None:
    rows = [
        request(
            f"r{number:03}",
            started_at=NOON + timedelta(milliseconds=number),
            messages=(Message(role="user", content=f"{number} é 😀"),) if number % 2 else None,
            pinned=bool(number % 3),
            segments={"plan": "pro"} if number % 5 else None,
            purposes=("train",) if number % 7 else (),
            ttft_ms=None if number % 11 else 0.1 + 0.2,
        )
        for number in range(MANY)
    ]
    ledger.record_requests(rows)
    assert list(ledger.requests()) == rows


def test_rows_of_a_large_batch_that_are_there_already_stay(ledger: Ledger) -> None:
    ledger.record_requests([request("r070", answer="first")])
    ledger.record_requests([request(f"r{number:03}", answer="second") for number in range(MANY)])
    answers = [row.answer for row in ledger.requests()]
    assert (len(answers), answers.count("first"), answers[70]) == (MANY, 1, "first")


def test_one_odd_text_does_not_lose_a_large_batch(ledger: Ledger) -> None:
    said = [f"a\0b\ud800 {number}" for number in range(ROWS_AT_ONCE)]
    ledger.record_requests([request(f"r{n:03}", answer=text) for n, text in enumerate(said)])
    assert [row.answer for row in ledger.requests()] == [
        f"a\ufffdb\ufffd {number}" for number in range(ROWS_AT_ONCE)
    ]


def test_a_large_batch_is_few_statements(ledger: Ledger) -> None:
    executions = []

    @sa.event.listens_for(ledger._engine, "before_cursor_execute")
    def count(connection, cursor, statement, parameters, context, many) -> None:
        if statement.startswith("INSERT"):
            executions.append(len(parameters) if many else 1)

    ledger.record_requests([request(f"r{number}") for number in range(4 * ROWS_AT_ONCE)])
    assert executions == [1] * 4
