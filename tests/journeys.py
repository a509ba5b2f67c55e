"""Running `hallmark` as a user does, with its time and the memory of all its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent


def shortened(
    folder: Path, recipe: str, steps: int, *, tokens_per_batch: int | None = None
) -> Path:
    """The shipped recipe with fewer steps, and smaller ones, as a file of the same name."""
    body = yaml.safe_load((ROOT / "train" / "recipes" / f"{recipe}.yaml").read_text())
    body["steps"] = steps
    if tokens_per_batch is not None:
        body["tokens_per_batch"] = tokens_per_batch
    body["validation"] = {"every_steps": steps, "max_tokens": 4096}
    path = folder / f"{recipe}.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


@dataclass(frozen=True)
class Run:
    """One run of a command: its output, seconds, and the most memory all its processes held."""

    code: int
    output: str
    seconds: float
    most_bytes: int


def memory_of(process: psutil.Process) -> int:
    """Resident bytes of a process and all its descendants, shared pages split among them."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def run(home: Path, *arguments: str) -> Run:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "hallmark", "--home", str(home), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"OMP_NUM_THREADS": "2", **os.environ},
    )
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(2):
            try:
                most = max(most, memory_of(psutil.Process(process.pid)))
            except psutil.NoSuchProcess:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    done.set()
    watcher.join()
    print(output)
    return Run(process.returncode, output, time.monotonic() - began, most)
