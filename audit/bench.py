"""How long the shipped suites take on a checkpoint, and the comparison with langfair.

    python -m audit.bench --home .hallmark-demo --checkpoint champion --data ../shared/data

Each suite is measured by the command itself in a home without evidence (the ledger is a
copy), then asked for once more: the second run must measure nothing. Start-up counts. The
comparison (``audit.bench_langfair``) runs where ``--data`` is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.checks import AUDITS
from registry.records import UserError

QUICK_TARGET_SECONDS = 240.0
JUDGED = (0, 1, 2, 3)  # exit codes of an audit that was measured


class BenchError(UserError):
    """There is no home to copy, or a suite could not be measured."""


@dataclass(frozen=True)
class Timed:
    """One suite: seconds of the first and the second run, and the report of the first."""

    suite: str
    seconds: float
    again_seconds: float
    report: dict[str, Any]

    @property
    def entries(self) -> list[tuple[str, int, float]]:
        """(entry, items, seconds of its measurement)."""
        return [
            (finding["entry"], finding["n"], instrument["seconds"] or 0.0)
            for finding, instrument in zip(
                self.report["verdict"]["findings"], self.report["instruments"], strict=True
            )
        ]


def timed(home: Path, checkpoint: str, suite: str) -> Timed:
    """Measure a suite in an empty home that has ``home``'s ledger. Raises BenchError."""
    if not (home / "ledger.db").is_file():
        raise BenchError(f"{home} has no ledger.db; make one with: hallmark --home {home} demo")
    with tempfile.TemporaryDirectory(prefix="hallmark-bench-audit-") as folder:
        fresh = Path(folder)
        for file in home.glob("ledger.db*"):
            shutil.copy(file, fresh / file.name)
        first, seconds = _run(fresh, checkpoint, suite)
        _, again = _run(fresh, checkpoint, suite)
    return Timed(suite, seconds, again, first)


def _run(home: Path, checkpoint: str, suite: str) -> tuple[dict[str, Any], float]:
    command = [sys.executable, "-m", "hallmark", "--home", str(home)]
    command += ["audit", checkpoint, "--suite", suite, "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode not in JUDGED:
        raise BenchError(f"hallmark audit --suite {suite} exited with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report, seconds


def show(runs: Sequence[Timed]) -> str:
    """The times as a table for the README."""
    lines = ["| suite | entry | items | seconds |", "|---|---|---|---|"]
    for run in runs:
        lines += [f"| {run.suite} | {name} | {n} | {s:.1f} |" for name, n, s in run.entries]
        lines.append(f"| {run.suite} | all, with start-up | | {run.seconds:.1f} |")
        lines.append(f"| {run.suite} | again, nothing measured | | {run.again_seconds:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", type=Path, default=Path(".hallmark-demo"))
    parser.add_argument("--checkpoint", default="champion")
    parser.add_argument("--suite", action="append", help="repeatable; quick and full by default")
    parser.add_argument("--data", type=Path, help="public data, for the langfair comparison")
    options = parser.parse_args()
    runs = [timed(options.home, options.checkpoint, s) for s in options.suite or ("quick", "full")]
    print(f"{len(AUDITS)} audits known, {os.cpu_count()} cores")
    print(show(runs))
    for run in runs:
        if run.suite == "quick":
            met = "met" if run.seconds <= QUICK_TARGET_SECONDS else "MISSED"
            print(f"quick: {run.seconds:.0f} s of at most {QUICK_TARGET_SECONDS:.0f} s: {met}")
    if options.data is not None and options.data.is_dir():
        from audit.bench_langfair import compare_with_langfair

        compare_with_langfair(options.data)


if __name__ == "__main__":
    main()
