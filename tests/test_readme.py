"""The README is checked like code: it names every command, target and setting there is."""

from __future__ import annotations

import re
from pathlib import Path

import hallmark

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def command_names() -> list[str]:
    names = [c.name or c.callback.__name__ for c in hallmark.app.registered_commands]  # type: ignore[union-attr]  # every command has one
    for group in hallmark.app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            names.append(f"{group.name} {command.name or command.callback.__name__}")  # type: ignore[union-attr]  # as above
    return names


def test_readme_names_every_command() -> None:
    missing = [name for name in command_names() if f"hallmark {name}" not in README]
    assert missing == []


def test_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", README))
    assert named <= targets
    assert {"demo", "test", "test-slow", "lint", "loop-real"} <= named


def test_readme_names_every_room() -> None:
    rooms = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert [room for room in rooms if f"{room}/" not in README] == []


def test_readme_names_every_environment_variable_of_the_commands() -> None:
    source = (ROOT / "commands" / "options.py").read_text()
    settings = set(re.findall(r'envvar="(HALLMARK_[A-Z_]+)"', source))
    assert settings
    assert [name for name in settings if name not in README] == []


def test_repository_names_no_machine_path() -> None:
    suspicious = re.compile(r"(?<![\w.])/(?:work|root|home)/(?!hallmark)\w+")
    kinds = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".txt", ".in"}
    ours = [
        place
        for place in ROOT.iterdir()
        if place.name not in (".git", ".venv", "build") and not place.name.startswith(".hallmark")
    ]
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for place in ours
        for path in (place.rglob("*") if place.is_dir() else [place])
        if path.suffix in kinds
        for match in suspicious.finditer(path.read_text(errors="replace"))
    ]
    assert found == []
