"""The ledger on SQLite and on a real PostgreSQL: what goes in comes out, from many processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry.checkpoint import DatasetRef, FileEntry, Manifest, weights_digest
from registry.conversation import Message
from registry.dataset import DatasetFile, DatasetManifest
from registry.evidence import Evidence, Item, ModelFacts
from registry.ledger import Ledger, LedgerError
from registry.records import digest_of
from registry.served import FeedbackRecord, RequestRecord
from registry.verdict import Status, Verdict

ROOT = Path(__file__).resolve().parent.parent
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server of Debian's on a Unix socket; gives the URL of a new database."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found and (initdb := shutil.which("initdb")):
        found = [Path(initdb).parent]
    if not found:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    programs = max(
        found, key=lambda path: [int(n) for n in path.parent.name.split(".") if n.isdigit()]
    )
    folder = Path(tempfile.mkdtemp(prefix="hallmark-pg-"))
    # PostgreSQL refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*user, str(programs / program), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    data = str(folder / "data")
    socket_only = f"-c listen_addresses= -c fsync=off -k {folder}"
    try:
        run("initdb", "-D", data, "-U", "hallmark", "-A", "trust", "--no-sync", "-E", "UTF8")
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", socket_only, "start")
        try:

            def create(name: str) -> str:
                run("createdb", "-h", str(folder), "-U", "hallmark", name)
                return f"postgresql://hallmark@/{name}?host={folder}"

            yield create
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'ledger.db'}"
    create = request.getfixturevalue("postgres")
    return create(f"test_{digest_of(request.node.nodeid.encode())[7:27]}")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        yield opened


def manifest(name: str, weights: str = "", **changes: object) -> Manifest:
    files = {"model.safetensors": FileEntry(sha256=digest_of(weights or name)[7:], size_bytes=1)}
    values = {
        "name": name,
        "stage": "sft",
        "weights_digest": weights_digest(files),
        "parent_digest": None,
        "files": files,
        "recipe": {"learning_rate": 0.02, "steps": 3},
        "datasets": (DatasetRef(name="support", digest=digest_of("rows")),),
        "optimizer_lineage": ("muon", "adamw"),
        "seed": 1,
        "tokens_seen": 1000,
        "versions": {"python": "3.11"},
        "code_revision": "abc",
        "created_at": NOON,
    }
    return Manifest(**(values | changes))


def record(ledger: Ledger, *names: str) -> list[str]:
    """Record checkpoints of these names, a second apart; their digests."""
    made = [
        manifest(name, created_at=NOON + timedelta(seconds=index))
        for index, name in enumerate(names)
    ]
    for one in made:
        ledger.record_checkpoint(one, f"/checkpoints/{one.name}")
    return [one.weights_digest for one in made]


def request(request_id: str, **changes: object) -> RequestRecord:
    values = {
        "request_id": request_id,
        "experiment": "greeting",
        "variant": "a",
        "checkpoint": digest_of("a"),
        "unit_digest": digest_of("someone"),
        "pinned": False,
        "route": "/v1/chat/completions",
        "status": 200,
        "started_at": NOON,
        "ttft_ms": 12.5,
        "duration_ms": 80.25,
        "overhead_ms": 0.3,
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "finish_reason": "stop",
        "messages": (Message(role="user", content="hello 😀"),),
        "answer": "hi",
    }
    return RequestRecord(**(values | changes))


def thumb(feedback_id: str, request_id: str, **changes: object) -> FeedbackRecord:
    values = {"kind": "thumb", "value": 1, "created_at": NOON + timedelta(minutes=1)}
    return FeedbackRecord(feedback_id=feedback_id, request_id=request_id, **(values | changes))


# Opening


def test_a_ledger_that_is_opened_again_holds_what_was_recorded(url: str) -> None:
    with Ledger(url) as ledger:
        record(ledger, "small")
    with Ledger(url) as ledger:
        assert [row.name for row in ledger.checkpoints()] == ["small"]


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


# Checkpoints and datasets


def test_a_checkpoint_comes_back_with_its_manifest(ledger: Ledger) -> None:
    small = manifest("small", parent_digest=digest_of("parent"))
    ledger.record_checkpoint(small, "s3://bucket/small")
    [row] = ledger.checkpoints()
    assert (row.digest, row.name, row.uri, row.stage, row.parent_digest, row.created_at) == (
        small.weights_digest,
        "small",
        "s3://bucket/small",
        "sft",
        digest_of("parent"),
        NOON,
    )
    assert ledger.manifest(small.weights_digest) == small


def test_a_checkpoint_recorded_again_is_found_at_its_new_address(ledger: Ledger) -> None:
    small = manifest("small")
    ledger.record_checkpoint(small, "/old")
    ledger.record_checkpoint(small, "/new")
    assert [row.uri for row in ledger.checkpoints()] == ["/new"]


def test_a_reference_is_an_alias_a_name_or_a_digest(ledger: Ledger) -> None:
    first, second = (
        manifest("small", "one"),
        manifest("small", "two", created_at=NOON + timedelta(hours=1)),
    )
    for one in (first, second):
        ledger.record_checkpoint(one, "/x")
    ledger.set_alias("champion", first.weights_digest, by="me", reason="best")
    digest = first.weights_digest
    assert ledger.resolve("champion").digest == digest
    assert ledger.resolve("small").digest == second.weights_digest
    for ref in (digest, digest.removeprefix("sha256:"), digest[:15], digest[7:15]):
        assert ledger.resolve(ref).digest == digest


@pytest.mark.parametrize("ref", ["nobody", "sha256:0000000", "0000000", "00000000", "%", "small_"])
def test_an_unknown_reference_lists_what_there_is(ledger: Ledger, ref: str) -> None:
    [digest] = record(ledger, "small")
    ledger.set_alias("champion", digest, by="me", reason="best")
    with pytest.raises(LedgerError) as caught:
        ledger.resolve(ref)
    assert str(caught.value) == (
        f"no checkpoint named {ref!r}; have champion, small ({digest[7:19]}); give an alias, "
        "a name or at least 8 digits of a digest"
    )


def test_a_prefix_of_two_digests_is_refused_and_both_are_named(ledger: Ledger) -> None:
    digests = ["sha256:" + "a" * 63 + end for end in "01"]
    for digest in digests:
        ledger.record_checkpoint(manifest("x").model_copy(update={"weights_digest": digest}), "/x")
    with pytest.raises(LedgerError, match=r"fits 2 checkpoints: sha256:a+0, sha256:a+1; give more"):
        ledger.resolve("a" * 8)


def test_ancestry_follows_parents_as_far_as_they_are_known(ledger: Ledger) -> None:
    base = manifest("base", parent_digest=digest_of("never recorded"))
    tuned = manifest("tuned", parent_digest=base.weights_digest)
    for one in (base, tuned):
        ledger.record_checkpoint(one, "/x")
    assert [row.name for row in ledger.ancestry(tuned.weights_digest)] == ["tuned", "base"]


def test_a_dataset_is_found_by_name_and_digest(ledger: Ledger) -> None:
    def dataset(digest: str, at: datetime) -> DatasetManifest:
        file = DatasetFile(sha256="0" * 64, size_bytes=3, rows=2)
        return DatasetManifest(
            name="support",
            digest=digest,
            licence="CC0-1.0",
            source="a test",
            files={"train.jsonl": file, "test.jsonl": file},
            recipe={},
            created_at=at,
        )

    old, new = digest_of("old"), digest_of("new")
    ledger.record_dataset(dataset(old, NOON), "/datasets/old")
    ledger.record_dataset(dataset(new, NOON + timedelta(hours=1)), Path("/datasets/new"))
    assert ledger.dataset("support").uri == "/datasets/new"
    assert ledger.dataset(old[7:19]).uri == "/datasets/old"
    assert ledger.dataset(old).num_rows == 4
    assert [row.digest for row in ledger.datasets()] == [new, old]
    with pytest.raises(LedgerError, match=r"no dataset named 'books'; have support \("):
        ledger.dataset("books")


# Evidence and verdicts


def test_evidence_is_indexed_once_per_check_configuration_and_weights(ledger: Ledger) -> None:
    evidence = Evidence(
        check="bits_per_byte",
        config={"limit": 3},
        config_digest=digest_of("config"),
        facts=ModelFacts(
            weights_digest=digest_of("a"),
            backend="torch",
            dtype="float32",
            context_length=512,
            chat_template_digest=digest_of("template"),
        ),
        items=(Item(key="1", content_hash=digest_of("text"), value=1.5),),
        seconds=0.1,
        created_at=NOON,
    )
    ledger.index_evidence(evidence, "/evidence/old.json")
    ledger.index_evidence(evidence, Path("/evidence/new.json"))
    [row] = ledger.evidence(digest_of("a"))
    assert (row.check, row.digest, row.path) == (
        "bits_per_byte",
        evidence.digest,
        "/evidence/new.json",
    )


def test_a_verdict_is_recorded_once_and_later_gets_its_hallmark(
    ledger: Ledger, passing_verdict: Callable[..., Verdict]
) -> None:
    candidate = digest_of("a")
    failed, passed = passing_verdict(candidate, Status.FAIL), passing_verdict(candidate)
    first = ledger.record_verdict(failed, None)
    second = ledger.record_verdict(passed, None)
    assert ledger.record_verdict(passed, digest_of("envelope")) == second != first
    assert ledger.record_verdict(passed, None) == second
    rows = ledger.verdicts(candidate)
    assert [(row.id, row.verdict, row.envelope_digest) for row in rows] == [
        (first, failed, None),
        (second, passed, digest_of("envelope")),
    ]
    assert rows[-1].verdict.digest == passed.digest


def test_the_last_verdict_is_the_newest_so_that_a_later_failure_holds(
    ledger: Ledger, passing_verdict: Callable[..., Verdict]
) -> None:
    candidate = digest_of("a")
    ledger.record_verdict(passing_verdict(candidate), digest_of("envelope"))
    ledger.record_verdict(passing_verdict(candidate, Status.FAIL), None)
    assert ledger.verdicts(candidate)[-1].verdict.status is Status.FAIL


# Aliases


def test_an_alias_keeps_who_moved_it_and_why(ledger: Ledger) -> None:
    one, two = record(ledger, "one", "two")
    assert ledger.alias("champion") is None
    ledger.set_alias("champion", one, by="ana", reason="first")
    ledger.set_alias("champion", two, by="ben", reason="better answers")
    ledger.set_alias("champion", two, by="ben", reason="pressed twice")
    ledger.set_alias("challenger", one, by="ana", reason="to compare")
    assert ledger.aliases() == {"challenger": one, "champion": two}
    assert [
        (change.digest, change.kind, change.by, change.reason)
        for change in ledger.alias_history("champion")
    ] == [(one, "set", "ana", "first"), (two, "set", "ben", "better answers")]
    assert ledger.alias_history("champion")[0].at.tzinfo is UTC


def test_rollback_goes_back_and_is_itself_history(ledger: Ledger) -> None:
    one, two = record(ledger, "one", "two")
    ledger.set_alias("champion", one, by="ana", reason="first")
    ledger.set_alias("champion", two, by="ben", reason="better")
    assert ledger.rollback("champion", by="ops", reason="worse after all") == one
    assert ledger.alias("champion") == one
    last = ledger.alias_history("champion")[-1]
    assert (last.digest, last.kind, last.by, last.reason) == (
        one,
        "rollback",
        "ops",
        "worse after all",
    )


def test_a_second_rollback_goes_further_back_and_never_to_what_was_rolled_back(
    ledger: Ledger,
) -> None:
    one, two, three, four = record(ledger, "one", "two", "three", "four")
    for digest in (one, two, three):
        ledger.set_alias("champion", digest, by="ana", reason="better")
    assert ledger.rollback("champion", by="ops", reason="bad") == two
    assert ledger.rollback("champion", by="ops", reason="bad too") == one
    ledger.set_alias("champion", four, by="ana", reason="mended")
    assert ledger.rollback("champion", by="ops", reason="no") == one
    with pytest.raises(LedgerError, match=r"only ever pointed to .* nothing to roll back to"):
        ledger.rollback("champion", by="ops", reason="again")
    assert ledger.alias("champion") == one


def test_an_alias_that_was_never_set_cannot_be_rolled_back(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="the alias 'champion' was never set"):
        ledger.rollback("champion", by="ops", reason="panic")


def test_an_alias_points_only_to_recorded_checkpoints_and_has_a_plain_name(
    ledger: Ledger,
) -> None:
    [one] = record(ledger, "one")
    with pytest.raises(LedgerError, match="no checkpoint named 'sha256:"):
        ledger.set_alias("champion", digest_of("unknown"), by="me", reason="x")
    for name in ("", "the champion", "9", "a/b"):
        with pytest.raises(LedgerError, match="is no name for an alias"):
            ledger.set_alias(name, one, by="me", reason="x")
    assert ledger.aliases() == {}


def test_rollbacks_from_several_threads_each_go_one_back(ledger: Ledger) -> None:
    digests = record(ledger, *(f"c{number}" for number in range(9)))
    for digest in digests:
        ledger.set_alias("champion", digest, by="ana", reason="better")
    with ThreadPoolExecutor(4) as pool:
        back = list(
            pool.map(lambda _: ledger.rollback("champion", by="ops", reason="bad"), range(8))
        )
    assert sorted(back) == sorted(digests[:8])
    assert ledger.alias("champion") == digests[0]


def test_a_revocation_keeps_its_first_reason_and_stays(ledger: Ledger) -> None:
    assert ledger.revoked() == frozenset()
    ledger.revoke(digest_of("envelope"), "leaked key")
    ledger.revoke(digest_of("envelope"), "again")
    assert ledger.revoked() == {digest_of("envelope")}


# Experiments, answers and feedback


def test_an_experiment_is_known_by_its_newest_version(ledger: Ledger) -> None:
    assert ledger.experiment("greeting") is None
    ledger.record_experiment("greeting", {"salt": "x", "weights": {"b": 0.5, "a": 0.5}})
    ledger.record_experiment("greeting", {"salt": "x", "weights": {"b": 0.5, "a": 0.5}})
    ledger.record_experiment("closing", {})
    ledger.record_experiment("greeting", {"salt": "y"})
    assert ledger.experiment("greeting") == {"salt": "y"}
    assert ledger.experiments() == ["greeting", "closing"]


def test_requests_come_back_as_they_were_recorded(ledger: Ledger) -> None:
    full = request("r1")
    bare = request(
        "r2",
        experiment=None,
        unit_digest=None,
        pinned=True,
        status=503,
        ttft_ms=None,
        overhead_ms=None,
        prompt_tokens=None,
        completion_tokens=None,
        finish_reason=None,
        messages=None,
        answer=None,
        started_at=NOON + timedelta(seconds=1),
    )
    ledger.record_requests([bare, full])
    ledger.record_requests([])
    assert ledger.request("r1") == full
    assert ledger.request("r2") == bare
    assert ledger.request("r3") is None
    assert list(ledger.requests()) == [full, bare]
    assert list(ledger.requests("greeting")) == [full]


def test_a_batch_that_is_sent_twice_is_kept_once(ledger: Ledger) -> None:
    ledger.record_requests([request("r1"), request("r2")])
    ledger.record_requests([request("r2", answer="changed"), request("r3")])
    assert [(row.request_id, row.answer) for row in ledger.requests()] == [
        ("r1", "hi"),
        ("r2", "hi"),
        ("r3", "hi"),
    ]


def test_times_are_kept_in_utc_whatever_zone_they_came_in(ledger: Ledger) -> None:
    in_india = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    ledger.record_requests([request("r1", started_at=in_india)])
    found = ledger.request("r1")
    assert found is not None
    assert found.started_at == NOON
    assert found.started_at.utcoffset() == timedelta(0)


def test_characters_that_no_database_takes_do_not_lose_the_batch(ledger: Ledger) -> None:
    odd = "nul \0 and half a pair \ud83d"
    messages = (Message(role="user", content=odd),)
    ledger.record_requests([request("r1", answer=odd, messages=messages), request("r2")])
    found = ledger.request("r1")
    assert found is not None
    assert found.answer == "nul \ufffd and half a pair \ufffd"
    assert found.messages == messages
    assert ledger.request("r2") is not None


def test_a_thousand_requests_are_kept_in_one_batch_within_a_second(ledger: Ledger) -> None:
    batch = [request(f"r{number:04}") for number in range(2500)]
    started = time.perf_counter()
    ledger.record_requests(batch)
    assert time.perf_counter() - started < 2.5
    assert list(ledger.requests()) == batch


def test_feedback_is_kept_once_per_id(ledger: Ledger) -> None:
    assert ledger.record_feedback(thumb("f1", "r1")) is True
    assert ledger.record_feedback(thumb("f1", "r1", value=-1)) is False
    ledger.record_requests([request("r1")])
    [answer] = ledger.answers_with_feedback()
    assert [record.value for record in answer.feedback] == [1]


def test_answers_come_with_all_their_feedback_oldest_first(ledger: Ledger) -> None:
    first, second = request("r1"), request("r2", started_at=NOON + timedelta(seconds=1))
    ledger.record_requests([second, first, request("r3")])
    up = thumb("f1", "r1")
    edit = thumb(
        "f2", "r1", kind="edit", value=None, text="hello!", created_at=NOON + timedelta(hours=1)
    )
    rating = thumb("f3", "r2", kind="rating", value=4)
    unknown = thumb("f4", "never served")
    for one in (edit, unknown, rating, up):
        ledger.record_feedback(one)
    answers = [(answer.request, answer.feedback) for answer in ledger.answers_with_feedback()]
    assert answers == [(first, (up, edit)), (second, (rating,))]
    late = [
        (answer.request, answer.feedback)
        for answer in ledger.answers_with_feedback(since=NOON + timedelta(hours=1))
    ]
    assert late == [(first, (up, edit))]


def test_reading_goes_on_while_others_write(ledger: Ledger) -> None:
    ledger.record_requests([request(f"r{number:04}") for number in range(1500)])
    seen = 0
    for row in ledger.requests():
        if seen in (0, 1200):
            ledger.record_feedback(thumb(f"f{seen}", row.request_id))
        seen += 1
    assert seen == 1500
    assert len(list(ledger.answers_with_feedback())) == 2


def test_threads_and_a_second_ledger_write_at_once(ledger: Ledger, url: str) -> None:
    with Ledger(url) as other, ThreadPoolExecutor(8) as pool:

        def write(number: int) -> None:
            chosen = other if number % 2 else ledger
            chosen.record_requests([request(f"{number}-{index}") for index in range(5)])

        list(pool.map(write, range(40)))
    assert sum(1 for _ in ledger.requests()) == 200


# From an installed wheel


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
