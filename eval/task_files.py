"""The files that an lm-eval task is made of, found without importing lm-eval.

A task is a YAML file, with the YAML files that it includes, the Python modules that its
``!function`` tags name, and its data files. Their digests belong to a measurement's
configuration, so they are looked up each time a gate runs, and that must be quick.
Modules that those modules import are not looked for.
"""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import yaml
from yaml.nodes import MappingNode, ScalarNode

from registry.records import UserError, describe_unknown

READY = Path(__file__).parent / "tasks"
LOCAL_BUILDERS = ("json", "csv", "parquet", "text", "arrow")


class TaskError(UserError):
    """A task cannot be used as it is named or written: the message says where and what else."""


@dataclass
class TaskFile:
    """One YAML file with what it includes. ``lines`` are those of its own top-level keys."""

    path: Path
    values: dict[str, Any]
    lines: Mapping[str, int]
    sources: list[Path] = field(default_factory=list)
    """Included YAML files and modules, in the order of their naming."""
    data: dict[str, list[Path]] = field(default_factory=dict)
    """Data files that exist, by split."""

    def error(self, key: str, message: str) -> TaskError:
        line = self.lines.get(key)
        place = f"{self.path}:{line}" if line else str(self.path)
        return TaskError(f"{place}: {key}: {message}")


def ready_tasks() -> dict[str, Path]:
    """The task files that come with Hallmark, by name: they need a folder of public data."""
    return {path.stem: path for path in sorted(READY.glob("*.yaml"))}


def task_path(task: Path | str, data: Path | None) -> Path | None:
    """The YAML file of a task; None where the name is one of lm-eval's own catalogue.

    Raises TaskError for a name that is no ready task where ``data`` is given.
    """
    if isinstance(task, Path):
        return task
    if data is None:
        return None
    ready = ready_tasks()
    if task not in ready:
        raise TaskError(
            f"{describe_unknown('ready task', task, ready)}; "
            "without data the name is looked up in lm-eval's catalogue"
        )
    return ready[task]


def files_of(task: Path | str, data: Path | None) -> dict[str, Path]:
    """Every file that decides what a task asks, by a name that is the same on all machines."""
    found = {"lm_eval": _lm_eval_version_file()}
    path = task_path(task, data)
    if path is None:
        return found
    file = read_task_file(path, data)
    found |= {"task": file.path}
    found |= {f"source/{number}": source for number, source in enumerate(file.sources)}
    for split, paths in file.data.items():
        found |= {f"data/{split}/{number}": p for number, p in enumerate(paths)}
    return found


def num_rows(task: Path | str, data: Path | None) -> int:
    """Rows of the split that is measured, before the task's own ``process_docs``.

    Raises TaskError where they cannot be counted without lm-eval.
    """
    path = task_path(task, data)
    if path is None:
        raise TaskError(f"how many items {task} of lm-eval's catalogue has, only its data says")
    file = read_task_file(path, data)
    split = file.values.get("test_split") or file.values.get("validation_split")
    kind = file.values.get("dataset_path")
    if split not in file.data or kind not in ("json", "csv"):
        raise file.error("dataset_path", "its rows can be counted only where they are json or csv")
    kwargs = file.values["dataset_kwargs"]
    style = {name: kwargs[name] for name in ("delimiter", "quoting") if name in kwargs}
    total = 0
    for path in file.data[split]:
        with _opened(path) as lines:
            rows = csv.reader(lines, **style) if kind == "csv" else map(str.strip, lines)
            total += sum(1 for row in rows if row) - (kind == "csv")
    return total


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


@cache
def _lm_eval_version_file() -> Path:
    """The installed distribution's METADATA: its digest stands for lm-eval's version."""
    try:
        found = importlib.metadata.distribution("lm-eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise TaskError("lm-eval is not installed: pip install 'hallmark-gate[eval]'") from error
    return Path(str(found.locate_file(f"lm_eval-{found.version}.dist-info/METADATA")))


def read_task_file(path: Path, data: Path | None = None) -> TaskFile:
    """Read a task with its includes, and find its files.

    Relative ``data_files`` are looked up in ``data``, else in the task file's own folder;
    never in the working directory. Raises TaskError.
    """
    file = _read(path.resolve(), ())
    dataset = file.values.get("dataset_path")
    kwargs = file.values.get("dataset_kwargs") or {}
    if not isinstance(kwargs, dict):
        raise file.error("dataset_kwargs", f"got {kwargs!r}; it is a mapping with data_files")
    if "data_dir" in kwargs or (isinstance(dataset, str) and (path.parent / dataset).is_dir()):
        raise file.error(
            "dataset_path",
            f"got the folder {kwargs.get('data_dir', dataset)!r}; name the files under "
            f"dataset_kwargs.data_files (dataset_path: {', '.join(LOCAL_BUILDERS)}), so that "
            "their digests count",
        )
    if "data_files" in kwargs:
        file.data = _data_files(file, kwargs["data_files"], data or path.parent)
    return file


def _data_files(file: TaskFile, named: Any, root: Path) -> dict[str, list[Path]]:
    splits = named if isinstance(named, dict) else {"train": named}  # as datasets calls it
    return {str(split): list(_find(file, value, root)) for split, value in splits.items()}


def _find(file: TaskFile, named: Any, root: Path) -> Iterator[Path]:
    for name in named if isinstance(named, list) else [named]:
        if not isinstance(name, str):
            raise file.error("dataset_kwargs", f"got {name!r} in data_files; give file names")
        if "://" in name:
            raise file.error(
                "dataset_kwargs", f"data file {name} is not on this machine; fetch it first"
            )
        pattern = Path(name)
        if pattern.is_absolute():
            found = [pattern] if pattern.is_file() else []
        else:
            found = sorted(path for path in root.glob(name) if path.is_file())
        if not found:
            raise file.error(
                "dataset_kwargs",
                f"no data file {root / name}; put it there, or set data to the folder that has it",
            )
        yield from found


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``!function`` is a name, and nothing is imported."""


@dataclass(frozen=True)
class _Function:
    name: str


def _function(loader: yaml.SafeLoader, node: ScalarNode) -> _Function:
    return _Function(str(loader.construct_scalar(node)))


_Loader.add_constructor("!function", _function)


def _read(path: Path, seen: tuple[Path, ...]) -> TaskFile:
    if path in seen:
        raise TaskError(f"{path}: include: goes round in a circle; take one out")
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # _Loader is a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"task file {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or error
        raise TaskError(f"{path}:{line}: not valid YAML: {problem}") from error
    if not isinstance(values, dict) or not isinstance(node, MappingNode):
        raise TaskError(f"{path}:1: a task file is a mapping with task, output_type and more")
    lines = {k.value: k.start_mark.line + 1 for k, _ in node.value if isinstance(k, ScalarNode)}
    file = TaskFile(path, values, lines)
    for name in sorted(_functions(values)):
        module = Path(name.rpartition(".")[0].replace(".", "/") + ".py")
        if (path.parent / module).is_file():
            file.sources.append(path.parent / module)
    included = values.pop("include", [])
    for name in included if isinstance(included, list) else [included]:
        other = _read((path.parent / str(name)).resolve(), (*seen, path))
        file.values = {k: v for k, v in other.values.items() if k not in values} | file.values
        file.sources += [other.path, *other.sources]
    return file


def _functions(value: Any) -> Iterator[str]:
    if isinstance(value, _Function):
        yield value.name
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _functions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _functions(inner)
