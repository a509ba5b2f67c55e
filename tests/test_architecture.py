"""The house's rules: the arrow between rooms, public modules, light imports, no clashes."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hallmark

ROOT = Path(__file__).resolve().parent.parent
ARROW = ("registry", "train", "eval", "audit", "monitoring", "serve", "commands", "hallmark")
PUBLIC = {
    "train": {"overlap", "privacy", "sources", "swaps", "synth"},
    "eval": {"checks", "runner", "stats", "gate", "grids", "wording"},
    "audit": {"checks", "toxicity"},
    "monitoring": {"series", "experiments"},
}
LIGHT = {
    "pydantic",
    "pydantic_core",
    "numpy",
    "scipy",
    "sqlalchemy",
    "prometheus_client",
    "yaml",
    "cryptography",
    "fsspec",
    "phonenumbers",
    "stdnum",
}
LIGHT_EXTRA = {"securesystemslib", "alembic"}


def files_of(room: str) -> list[Path]:
    if room == "hallmark":
        return [ROOT / "hallmark.py"]
    return sorted((ROOT / room).rglob("*.py"))


def imports_of(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name: str) -> list[str] | None:
    parts = name.split(".")
    return parts if parts[0] in ARROW else None


@pytest.mark.parametrize("room", ARROW)
def test_a_room_imports_only_from_rooms_to_its_left(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files_of(room)
        for name in imports_of(path)
        if (parts := ours(name)) and parts[0] != room and ARROW.index(parts[0]) > ARROW.index(room)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ARROW[:-2])
def test_a_room_uses_only_public_modules_of_other_rooms(room: str) -> None:
    wrong = []
    for path in files_of(room):
        for name in imports_of(path):
            parts = ours(name)
            if not parts or parts[0] in (room, "registry") or len(parts) < 2:
                continue
            if parts[1] not in PUBLIC.get(parts[0], set()):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_public_modules_import_only_light_libraries_at_module_level() -> None:
    allowed = set(sys.stdlib_module_names) | LIGHT | LIGHT_EXTRA | set(ARROW)
    modules = [ROOT / room / f"{name}.py" for room, names in PUBLIC.items() for name in names]
    modules += [path for path in files_of("registry") if "migrations" not in path.parts]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules
        if path.exists()
        for name in imports_of(path, top_level_only=True)
        if name.split(".")[0] not in allowed
    ]
    assert wrong == []


def test_load_tests_import_nothing_of_ours() -> None:
    wrong = [
        f"{path.name} imports {name}"
        for path in (ROOT / "loadtests").rglob("*.py")
        for name in imports_of(path)
        if ours(name)
    ]
    assert wrong == []


def test_no_room_has_the_name_of_an_installed_package() -> None:
    installed = {
        name
        for name, distributions in importlib.metadata.packages_distributions().items()
        if distributions != ["hallmark-gate"]
    }
    assert installed.isdisjoint(ARROW)


def test_tests_are_flat_files_named_after_what_they_test() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
    rooms = (*ARROW, "loadtests", "deploy", "architecture", "readme", "demo", "loop")
    names = [path.stem for path in (ROOT / "tests").glob("test_*.py")]
    assert [name for name in names if name.split("_")[1] not in rooms] == []


def test_importing_the_server_pulls_in_no_model_library() -> None:
    code = (
        "import sys, serve.app;"
        "heavy = ('torch', 'vllm', 'lm_eval', 'mlflow', 'transformers');"
        "print([name for name in heavy if name in sys.modules])"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert outcome.stdout.strip() == "[]"


@pytest.mark.alone
def test_help_costs_hardly_more_than_that_of_as_many_empty_commands(tmp_path: Path) -> None:
    """Processor time, in turns with typer alone: a slow machine slows both.

    Both sides find their modules compiled, as they do from the second call on.
    """
    compiled = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}

    def spent(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=compiled, capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    empty = (
        "import typer\napp = typer.Typer(rich_markup_mode=None)\n"
        "def main(name: str, number: int = 1): ...\n"
        "for index in range(36): app.command(str(index))(main)\napp()"
    )
    times = [(spent("-m", "hallmark", "--help"), spent("-c", empty, "--help")) for _ in range(7)]
    ours, theirs = (min(column) for column in zip(*times, strict=True))
    assert ours < 0.5
    assert ours < 1.5 * theirs


def test_every_commands_summary_is_whole_where_commands_are_listed() -> None:
    runner = CliRunner()
    groups = [[], *([group.name] for group in hallmark.app.registered_groups if group.name)]
    for group in groups:
        listed = runner.invoke(hallmark.app, [*group, "--help"]).output.partition("Commands:")[2]
        assert listed.strip()
        assert [line for line in listed.splitlines() if line.endswith("...")] == []


def test_no_source_file_is_longer_than_it_should_be() -> None:
    too_long = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for room in (*ARROW, "loadtests")
        for path in files_of(room)
        if len(path.read_text().splitlines()) > 400
    }
    assert too_long == {}
