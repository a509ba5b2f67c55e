"""The few statements that the ledger is made of, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from registry.database import Write, open_database

FETCH_ROWS = 1000
ROWS_AT_ONCE = 64


class Store:
    """A database at its newest revision, with a pool of connections."""

    def __init__(self, url: str) -> None:
        self._engine = open_database(url)
        self._writing = self._engine.execution_options(**Write)
        self._insert = postgresql.insert if self._engine.name == "postgresql" else sqlite.insert
        self._of_many: dict[tuple[str, ...], _InsertOfMany] = {}

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _all(self, query: sa.Select[Any]) -> Sequence[Any]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()

    def _stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        """Row by row, so that a month of traffic needs no memory."""
        with self._engine.connect().execution_options(yield_per=FETCH_ROWS) as connection:
            yield from connection.execute(query)

    def _add(
        self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Insert rows with the same columns; those whose key is there already stay as they are."""
        whole = len(rows) - len(rows) % ROWS_AT_ONCE
        for start in range(0, whole, ROWS_AT_ONCE):
            self._many(table, rows[0]).run(connection, rows[start : start + ROWS_AT_ONCE])
        if rest := list(rows[whole:]):
            connection.execute(self._insert(table).on_conflict_do_nothing(), rest)

    def _many(self, table: sa.Table, row: Mapping[str, Any]) -> _InsertOfMany:
        key = table.name, *row
        if key not in self._of_many:
            insert = self._insert(table).values([dict(row)] * ROWS_AT_ONCE)
            made = _InsertOfMany.of(insert.on_conflict_do_nothing(), row, self._engine.dialect)
            self._of_many[key] = made
        return self._of_many[key]

    def _add_one(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Insert a row; False where its key is there already."""
        statement = self._insert(table).values(**row).on_conflict_do_nothing()
        # Not rowcount, which SQLAlchemy leaves at -1 for inserts on PostgreSQL.
        return connection.execute(statement.returning(*table.primary_key)).first() is not None

    def _put(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert a row, or replace the one with the same primary key."""
        keys = [column.name for column in table.primary_key]
        values = {name: value for name, value in row.items() if name not in keys}
        statement = self._insert(table).values(**row)
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


@dataclass(frozen=True)
class _InsertOfMany:
    """One statement for ROWS_AT_ONCE rows, made once.

    SQLite's driver lets go of the interpreter's lock for each execution, and beside a busy event
    loop waits for it again: a record took 0.5 ms so, row by row, and 0.05 ms in one statement.
    """

    sql: str
    names: tuple[str, ...] | None
    """Of the statement's parameters, None where they go by position."""
    columns: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    """In the statement's order, each with what turns a value into the driver's."""

    @classmethod
    def of(cls, insert: sa.Insert, row: Mapping[str, Any], dialect: sa.Dialect) -> Self:
        compiled = insert.compile(dialect=dialect)
        columns = tuple(
            (column.name, column.type.dialect_impl(dialect).bind_processor(dialect))
            for column in insert.table.c
            if column.name in row
        )
        return cls(str(compiled), None if compiled.positional else tuple(compiled.params), columns)

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        values = [
            row[name] if convert is None else convert(row[name])
            for row in rows
            for name, convert in self.columns
        ]
        named = self.names
        connection.exec_driver_sql(
            self.sql, tuple(values) if named is None else dict(zip(named, values, strict=True))
        )
