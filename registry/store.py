"""The few statements that the ledger is made of, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from registry.database import Write, open_database

FETCH_ROWS = 1000


class Store:
    """A database at its newest revision, with a pool of connections."""

    def __init__(self, url: str) -> None:
        self._engine = open_database(url)
        self._writing = self._engine.execution_options(**Write)
        self._insert = postgresql.insert if self._engine.name == "postgresql" else sqlite.insert

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
        """Insert rows; those whose key is there already stay as they are."""
        if rows:
            connection.execute(self._insert(table).on_conflict_do_nothing(), list(rows))

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
