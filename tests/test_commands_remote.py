"""Checkpoints that stand elsewhere: fetched, judged, and their hallmark put back beside them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
import yaml

import hallmark
from registry.home import Home
from registry.ledger import Ledger
from tests.measuring import PAIRS

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command, those that take a policy under one that is trusted: exit code, what it said."""
    policy = tmp_path / "mine.yaml"
    policy.write_text(yaml.safe_dump({"name": "mine", "entries": [PAIRS]}))

    def command(*arguments: str) -> tuple[int, str]:
        under = ["--policy", str(policy)] if arguments[0] in ("gate", "trust") else []
        code = hallmark.main(["--home", str(home.root), *arguments, *under])
        return code, " ".join(capsys.readouterr().err.split())

    assert command("trust", "policy")[0] == 0
    return command


@pytest.fixture
def web(tiny_checkpoint: Path) -> Iterator[str]:
    """The folder's address at a web server, which cannot be written to."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=tiny_checkpoint, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        port = re.search(r"port (\d+)", server.stdout.readline())
        assert port is not None
        yield f"http://127.0.0.1:{port[1]}"
        server.terminate()


def test_a_checkpoint_in_a_store_is_gated_promoted_and_its_hallmark_put_there(
    run: Run, home: Home, tiny_checkpoint: Path
) -> None:
    store = fsspec.filesystem("memory")
    for path in tiny_checkpoint.iterdir():
        store.pipe_file(f"/bucket/tiny/{path.name}", path.read_bytes())
    code, said = run("gate", "memory://bucket/tiny")
    assert code == 0, said
    assert store.exists("/bucket/tiny/hallmark.json")
    (row,) = Ledger(home.ledger_url).checkpoints()
    assert row.uri == "memory://bucket/tiny"
    assert run("promote", row.name)[0] == 0

    shutil.rmtree(home.fetched)  # what is fetched is a copy, and is fetched again
    assert run("verify", "champion")[0] == 0
    (copy,) = home.fetched.iterdir()
    (copy / "model.safetensors").write_bytes(b"other weights")
    code, said = run("verify", "champion")
    assert code == 4
    assert "model.safetensors" in said


def test_a_hallmark_that_cannot_be_put_back_is_kept_and_the_user_told(
    run: Run, web: str, tiny_checkpoint: Path
) -> None:
    code, said = run("gate", web)
    assert code == 0, said
    assert f"{web} takes no hallmark.json: 501" in said
    assert not (tiny_checkpoint / "hallmark.json").exists()
    assert run("verify", web)[0] == 0


def test_an_address_where_nobody_answers_is_one_line(run: Run) -> None:
    code, said = run("verify", "http://127.0.0.1:9/nothing")
    assert code == 4
    assert said.startswith("error: ")
    assert "check address and credentials" in said
