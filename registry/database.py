"""Opening the ledger's database: SQLite in WAL mode, or PostgreSQL by URL, migrated to head.

Any number of processes may open a new ledger at once: one migrates, inside a transaction
that the others wait for.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from registry.records import UserError, first_problem

HEAD = "0007"
# Not Alembic's default name, which other tools keep in a database that is shared with them.
VERSION_TABLE = "hallmark_schema"
BUSY_TIMEOUT_SECONDS = 30.0
ADVISORY_LOCK = 0x48414C4C  # "HALL"

Write = {"write": True}  # execution options of a transaction that will write


class LedgerError(UserError):
    """The ledger cannot be opened, or does not hold what was asked for."""


def open_database(address: str) -> sa.Engine:
    """An engine on a database at the newest revision. Raises LedgerError."""
    url = _url(address)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        engine = _open_sqlite(url)
    else:
        try:
            # Parameters are what people said: an error that is logged shows none.
            engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
        except ModuleNotFoundError as error:
            raise LedgerError(
                f"the ledger {shown} needs a driver; run `pip install 'psycopg[binary]'`"
            ) from error
    try:
        if _revision(engine) != HEAD:
            _migrate(engine, shown)
    except DBAPIError as error:
        engine.dispose()
        raise LedgerError(
            f"the ledger {shown} cannot be opened: {first_problem(error.orig or error)}; check the "
            "address, that it is reachable and writable, and that it is a database of Hallmark's"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def lock_for_writing(connection: sa.Connection) -> None:
    """Make this transaction the only one that reads in order to write, until it ends.

    On SQLite a write transaction is that from its beginning.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))


def _url(address: str) -> sa.URL:
    advice = "use sqlite:///PATH or postgresql://USER@HOST/DATABASE"
    try:
        url = sa.make_url(address)
    except ArgumentError as error:
        raise LedgerError(f"{address!r} is no address of a ledger; {advice}") from error
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        return url
    if url.drivername != "sqlite":
        raise LedgerError(f"a ledger cannot be kept in {url.drivername}; {advice}")
    if url.database in (None, "", ":memory:"):
        raise LedgerError(f"a ledger in memory would be forgotten; {advice}")
    return url


def _open_sqlite(url: sa.URL) -> sa.Engine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        # The driver begins no transactions of its own: it would do so too late for us.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        _use_wal(connection)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A writer takes its lock at once: one that read first could no longer get it.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL, which lasts. SQLite does not wait for the lock this takes, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _revision(source: sa.Engine | sa.Connection) -> str | None:
    """The database's revision; None where it has no tables of ours."""
    if isinstance(source, sa.Engine):
        with source.connect() as connection:
            return _revision(connection)
    if not sa.inspect(source).has_table(VERSION_TABLE):
        return None
    found: str | None = source.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found


def _migrate(engine: sa.Engine, shown: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.execution_options(**Write).begin() as connection:
        lock_for_writing(connection)
        revision = _revision(connection)
        if revision == HEAD:
            return
        try:
            ScriptDirectory.from_config(config).get_revisions(revision or "base")
        except CommandError as error:
            raise LedgerError(
                f"the ledger {shown} is at revision {revision}, which a newer Hallmark made; "
                "install that version"
            ) from error
        if revision is None and (taken := _taken(connection)):
            raise LedgerError(
                f"the database {shown} has tables of something else ({', '.join(taken)}); "
                "give the ledger a database of its own"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _taken(connection: sa.Connection) -> list[str]:
    from registry.tables import metadata

    return sorted(set(sa.inspect(connection).get_table_names()) & set(metadata.tables))
