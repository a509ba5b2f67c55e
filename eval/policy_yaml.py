"""Read a YAML file so that each error can say the line it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from registry.records import UserError

Location = tuple[str | int, ...]


class PolicyError(UserError):
    """The policy cannot be used as written: the message names file, line, key and value."""


@dataclass(frozen=True)
class Marked:
    """A parsed YAML document and the line of each of its keys."""

    path: Path
    value: Any
    lines: Mapping[Location, int]

    def error(self, at: Location, message: str) -> PolicyError:
        """``file:line: entries.0 (name).key: message``; the line of the nearest parent."""
        known = at
        while known not in self.lines and known:
            known = known[:-1]
        line = self.lines.get(known, 1)
        return PolicyError(f"{self.path}:{line}: {self._spell(at)}{message}")

    def _spell(self, at: Location) -> str:
        """``entry task_success, margin: `` for people, by the entry's name where it has one."""
        if len(at) >= 2 and at[0] == "entries" and isinstance(at[1], int):
            entry = self.value["entries"][at[1]]
            name = entry.get("name") if isinstance(entry, dict) else None
            rest = ".".join(str(part) for part in at[2:])
            spelled = f"entry {name if isinstance(name, str) else at[1] + 1}"
            return f"{spelled}, {rest}: " if rest else f"{spelled}: "
        return f"{'.'.join(str(part) for part in at)}: " if at else ""


def read_marked(path: Path) -> Marked:
    """Parse one YAML mapping. Raises PolicyError for unreadable files, syntax and double keys."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy {path} cannot be read: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or error
        raise PolicyError(f"{path}:{line}: not valid YAML: {problem}") from error
    if not isinstance(value, dict) or not isinstance(node, MappingNode):
        raise PolicyError(f"{path}:1: a policy is a mapping with name and entries")
    lines: dict[Location, int] = {}
    _collect_lines(node, (), lines, path)
    return Marked(path, value, lines)


def _collect_lines(node: Node, at: Location, lines: dict[Location, int], path: Path) -> None:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                raise PolicyError(f"{path}:{line}: {key.value!r} stands twice in one mapping")
            seen.add(key.value)
            lines[(*at, key.value)] = line
            _collect_lines(value, (*at, key.value), lines, path)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, (*at, index), lines, path)


def explain(
    error: ValidationError,
    model: type[BaseModel],
    marked: Marked,
    *,
    prefix: Location = (),
    shown: Any = None,
) -> PolicyError:
    """Pydantic's first complaint in our words: where, which value, and what is allowed.

    ``shown`` is the value as written, for messages about values that were resolved.
    """
    found = error.errors(include_url=False)
    # A list whose rows are wrong also counts as too short: that says nothing more.
    complaints = [one for one in found if one["type"] != "too_short"] or found
    first = complaints[0]
    inner = tuple(first["loc"])
    at = (*prefix, *inner)
    key = inner[-1] if inner else ""
    written = _look_up(shown if shown is not None else marked.value, inner)
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(_fields_at(model, inner[:-1])))
        message = f"no such key {key!r}; have {known}"
    elif first["type"] == "missing":
        message = "is missing"
    else:
        text = first["msg"].removeprefix("Value error, ")
        text = text[:1].lower() + text[1:]
        value = "" if isinstance(written, dict | list) else f"got {written!r}: "
        message = f"{value}{text}"
    more = len(complaints) - 1
    return marked.error(at, message + (f" (and {more} more)" if more else ""))


def _look_up(value: Any, at: Location) -> Any:
    for part in at:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _fields_at(model: type[BaseModel], at: Location) -> list[str]:
    """Field names of the model that a location points into."""
    current: Any = model
    for part in at:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if hasattr(current, "model_fields") else None
        current = _model_in(field.annotation) if field is not None else None
    return list(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """The pydantic model inside ``X | None``, ``tuple[X, ...]`` and ``Annotated[X, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None
