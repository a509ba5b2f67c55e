"""Ledgers to test with, on SQLite and on a real PostgreSQL, and records to put into them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.checkpoint import DatasetRef, FileEntry, Manifest, weights_digest
from registry.conversation import Message
from registry.ledger import Ledger
from registry.records import digest_of
from registry.served import FeedbackRecord, RequestRecord

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@dataclass(frozen=True)
class Postgres:
    """Called with a name it gives the URL of a new database; ``restart`` cuts everybody off."""

    create: Callable[[str], str]
    restart: Callable[[], None]

    def __call__(self, name: str) -> str:
        return self.create(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of Debian's on a Unix socket."""
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
        control = ("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", socket_only)
        run(*control, "start")
        try:

            def create(name: str) -> str:
                run("createdb", "-h", str(folder), "-U", "hallmark", name)
                return f"postgresql://hallmark@/{name}?host={folder}"

            yield Postgres(create, lambda: run(*control, "-m", "immediate", "restart"))
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
