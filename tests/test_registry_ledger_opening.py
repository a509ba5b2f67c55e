"""Opening a ledger: once, twice, by many at once, of another version, from a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.ledger import Ledger, LedgerError
from tests.ledgers import record

ROOT = Path(__file__).resolve().parent.parent


def test_a_ledger_that_is_opened_again_holds_what_was_recorded(url: str) -> None:
    with Ledger(url) as ledger:
        record(ledger, "small")
    with Ledger(url) as ledger:
        assert [row.name for row in ledger.checkpoints()] == ["small"]


@pytest.mark.alone
def test_a_second_opening_is_quick_and_does_not_need_alembic(url: str) -> None:
    # Imports are not counted, neither SQLAlchemy's nor the driver's: psycopg's alone took
    # 0.12 s of the 0.15 s, once per process, where opening took 0.02 s.
    Ledger(url).close()
    program = (
        "import sys, time\n"
        "from registry.ledger import Ledger\n"
        "assert not {'torch', 'pandas', 'alembic', 'transformers'} & sys.modules.keys()\n"
        "if sys.argv[1].startswith('postgresql'):\n"
        "    import psycopg, sqlalchemy.dialects.postgresql.psycopg\n"
        "started = time.perf_counter()\n"
        "Ledger(sys.argv[1]).close()\n"
        "print(time.perf_counter() - started)\n"
        "assert 'alembic' not in sys.modules\n"
    )
    seconds = min(
        float(
            subprocess.run(
                [sys.executable, "-c", program, url],
                cwd=ROOT,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for _ in range(3)
    )
    assert seconds < 0.150


def test_processes_that_open_a_new_ledger_at_once_all_succeed(url: str) -> None:
    program = (
        "import sys, time\n"
        "from registry.ledger import Ledger\n"
        "time.sleep(max(0.0, float(sys.argv[2]) - time.time()))\n"
        "ledger = Ledger(sys.argv[1])\n"
        "ledger.revoke('sha256:' + sys.argv[3], 'a test')\n"
    )
    start = str(time.time() + 2.5)
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", program, url, start, str(number)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    complaints = [opener.communicate(timeout=120)[1] for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * 6, complaints
    with Ledger(url) as ledger:
        assert ledger.revoked() == {f"sha256:{number}" for number in range(6)}


def test_the_migrations_make_exactly_the_tables_that_are_declared(ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from registry.database import VERSION_TABLE
    from registry.tables import metadata

    with ledger._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_head_names_the_newest_migration() -> None:
    from alembic.script import ScriptDirectory

    from registry.database import HEAD

    assert ScriptDirectory(ROOT / "registry" / "migrations").get_current_head() == HEAD


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    create_table = op.create_table

    def fail(name: str, *columns: object) -> None:
        if name == "feedback":
            raise KeyboardInterrupt
        create_table(name, *columns)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", fail)
        with pytest.raises(KeyboardInterrupt):
            Ledger(url)
    with Ledger(url) as ledger:
        record(ledger, "small")


def test_a_ledger_of_a_newer_version_is_refused(url: str) -> None:
    import sqlalchemy as sa

    with Ledger(url) as ledger, ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE hallmark_schema SET version_num = '9999'"))
    with pytest.raises(LedgerError, match="at revision 9999, which a newer Hallmark made"):
        Ledger(url)


def test_a_database_with_tables_of_another_application_is_refused(url: str) -> None:
    import sqlalchemy as sa

    with Ledger(url) as ledger, ledger._engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE hallmark_schema"))
    with pytest.raises(LedgerError, match=r"tables of something else .*experiments"):
        Ledger(url)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sqlite://", "in memory would be forgotten; use sqlite:///PATH or"),
        ("sqlite:///:memory:", "in memory would be forgotten"),
        ("mysql://root@localhost/x", "cannot be kept in mysql; use sqlite:///PATH"),
        ("ledger.db", "'ledger.db' is no address of a ledger"),
        ("postgresql://me:secret@127.0.0.1:1/x", r"postgresql\+psycopg://me:\*\*\*@127.*refused"),
    ],
)
def test_an_unusable_address_is_refused_without_showing_the_password(
    address: str, words: str
) -> None:
    with pytest.raises(LedgerError, match=words) as caught:
        Ledger(address)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes and not a database, at some length\n" * 40)
    with pytest.raises(LedgerError, match=r"notes\.txt cannot be opened: file is not a database"):
        Ledger(f"sqlite:///{path}")
    assert path.read_text().startswith("these are notes")


def test_sqlite_is_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger, ledger._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_a_ledger_is_created_from_an_installed_wheel(tmp_path: Path) -> None:
    import zipfile

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import registry.ledger, sys\n"
        "assert registry.__file__.startswith(sys.argv[1]), registry.__file__\n"
        "registry.ledger.Ledger(f'sqlite:///{sys.argv[1]}/ledger.db').close()\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "site")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        check=True,
    )
