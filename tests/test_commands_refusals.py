"""Bad input at the front door: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOOD_ROW = '{"messages": [{"role": "user", "content": "hello"}]}\n'

Hallmark = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hallmark(tmp_path: Path) -> Hallmark:
    """Run a command as a user does, in a home of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hallmark", "--home", str(tmp_path / "home"), *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )

    return run


def refused(outcome: subprocess.CompletedProcess[str], *said: str) -> None:
    assert outcome.returncode == 4, outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stderr
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, outcome.stderr
    message = " ".join(outcome.stderr.split())
    assert [part for part in said if part not in message] == []


def test_an_unreadable_row_is_named_with_its_file_and_line(
    hallmark: Hallmark, tmp_path: Path
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(GOOD_ROW + '{"messages": [\n')
    refused(hallmark("data", "import", str(path), "--name", "chats"), "chats.jsonl:2")
    assert not list((tmp_path / "home" / "datasets").glob("*"))


def test_a_recipe_with_an_unknown_key_is_refused(hallmark: Hallmark, tmp_path: Path) -> None:
    chats = tmp_path / "chats.jsonl"
    chats.write_text(GOOD_ROW)
    assert hallmark("data", "import", str(chats), "--name", "chats").returncode == 0
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("stage: sft\nsteps: 10\ntokens_per_batch: 4096\nstepz: 3\n")
    outcome = hallmark("train", "run", str(recipe), "--data", "chats", "--name", "x")
    refused(outcome, "mine.yaml", "stepz")


def test_a_policy_with_an_unknown_check_lists_those_there_are(
    hallmark: Hallmark, tmp_path: Path
) -> None:
    policy = tmp_path / "mine.yaml"
    policy.write_text(
        "schema_version: 1\nname: mine\nentries:\n  - name: a\n    check: vibes\n    config: {}\n"
        "    tier: required\n    limit: {min: 0.5}\n    min_items: 1\n"
        "    owner: me\n    reason: none\n"
    )
    refused(hallmark("plan", "--policy", str(policy)), "vibes", "task_success")


def test_a_folder_without_manifest_is_no_checkpoint(hallmark: Hallmark, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    refused(hallmark("verify", str(tmp_path / "weights")), "manifest.json")


@pytest.mark.parametrize(
    "command", [("verify", "champion"), ("promote", "nobody"), ("gate", "nobody"), ("rollback",)]
)
def test_an_alias_or_checkpoint_that_is_not_there_is_named(
    hallmark: Hallmark, command: tuple[str, ...]
) -> None:
    refused(hallmark(*command), command[1] if len(command) > 1 else "champion")


def test_an_unknown_option_is_a_usage_error(hallmark: Hallmark) -> None:
    outcome = hallmark("gate", "x", "--polcy", "support")
    assert outcome.returncode == 4
    assert "--polcy" in outcome.stderr
