"""Our runner beside lm-eval's ``hf`` model: speed, memory and agreement, in one run.

    python -m eval.bench_lm_eval --data ../shared/data [--checkpoint FOLDER]

Both sides get the same model, dtype (float32), threads and requests, each in a process of
its own; repeats are interleaved, so that what else the machine does falls on both. lm-eval
gets the batch size that is fastest on a part of the requests. This process itself stays
light, for a child's peak memory counts from its parent's. Without a checkpoint a random
one of five million parameters is made: speed does not depend on what a model has learned.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import multiprocessing
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from eval.bench_sides import (
    SUITES,
    Ours,
    Requests,
    Suite,
    Theirs,
    build_requests,
    gate,
    lm_eval_alone,
    make_checkpoint,
    make_neighbour,
    serve,
)

BATCH_SIZES = (16, 32, 64, 128)
WARM_UP_REQUESTS = 256
TOLERANCE_NATS = 1e-4
GATE_TARGET = 3.0

POLICY = """\
name: bench
entries:
  - {name: hellaswag, check: lm_eval_task, tier: required, margin: 0.05, min_items: 100,
     config: {task: hellaswag, data: DATA, max_items: 500}, reason: bench, owner: bench}
  - {name: blimp, check: lm_eval_task, tier: required, margin: 0.05, min_items: 100,
     config: {task: blimp, data: DATA, max_items: 2010}, reason: bench, owner: bench}
"""


@contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """A fresh process running ``target(connection, *arguments)``; it has ended afterwards."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=target, args=(its, *arguments), daemon=True)
    process.start()
    its.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(timeout=10)
        process.terminate()


def outcome(target: Callable[..., None], *arguments: Any) -> tuple[float, Any]:
    """Seconds from the start of a fresh process to its result, and the result."""
    began = time.perf_counter()
    with child(target, *arguments) as connection:
        result = connection.recv()
        return time.perf_counter() - began, result


def ask(connection: Connection, *call: Any) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of the processor, and the result of one call."""
    connection.send(call)
    answer: tuple[float, float, Any] = connection.recv()
    return answer


def best_batch_size(theirs: Connection, requests: Requests) -> int:
    """The fastest of ``BATCH_SIZES`` on requests spread over all of them, by two tries each."""
    some = requests[:: max(1, len(requests) // WARM_UP_REQUESTS)]
    ask(theirs, "score", some[:32], 16)
    seconds = {
        size: min(ask(theirs, "score", some, size)[0] for _ in range(2)) for size in BATCH_SIZES
    }
    return min(seconds, key=seconds.__getitem__)


def compare(folder: Path, requests: dict[str, Requests], repeats: int) -> dict[str, int]:
    """Print the table of both suites; the batch sizes that were best for lm-eval by suite."""
    with child(serve, Theirs, folder) as tuning:  # large batches would count as its peak
        tuning.recv()
        sizes = {suite.task: best_batch_size(tuning, requests[suite.task]) for suite in SUITES}
        tuning.send(None)
    with child(serve, Ours, folder) as ours, child(serve, Theirs, folder) as theirs:
        loaded = ours.recv(), theirs.recv()
        for suite in SUITES:
            asked = requests[suite.task]
            tokens = ask(ours, "count_tokens", asked, suite.choices)[-1]
            for side in (ours, theirs):
                ask(side, "score", asked[:64], sizes[suite.task])
            runs = []
            for repeat in range(repeats):
                order = (ours, theirs) if repeat % 2 == 0 else (theirs, ours)
                both = {side: ask(side, "score", asked, sizes[suite.task]) for side in order}
                runs.append((both[ours][:2], both[theirs][:2]))
            _print_suite(suite, sizes[suite.task], runs, tokens)
            _print_agreement(both[ours][-1], both[theirs][-1])
        peaks = [ask(side, "peak")[-1] for side in (ours, theirs)]
        print("\npeak memory, MiB: after loading, at the end")
        for name, before, after in zip(("ours", "lm-eval"), loaded, peaks, strict=True):
            print(f"  {name:8s} {before:7.0f} {after:7.0f}")
        print(f"  no higher than lm-eval's: {_met(peaks[0] <= peaks[1])}")
        for side in (ours, theirs):
            side.send(None)
    return sizes


def _print_suite(
    suite: Suite,
    size: int,
    runs: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    tokens: dict[str, int],
) -> None:
    """Each run has (seconds by the clock, of the processor) of ours and of lm-eval's."""
    print(f"\n{suite.task}, {suite.items} items, lm-eval's batch size {size}")
    print("  repeat   ours, items/s   lm-eval, items/s   ratio   ratio of processor time")
    for number, (ours, theirs) in enumerate(runs, 1):
        print(
            f"  {number:6d} {suite.items / ours[0]:15.1f} {suite.items / theirs[0]:18.1f} "
            f"{theirs[0] / ours[0]:7.2f} {theirs[1] / ours[1]:25.2f}"
        )
    _print_ratios("", [theirs[0] / ours[0] for ours, theirs in runs], suite.target)
    _print_ratios("processor time: ", [theirs[1] / ours[1] for ours, theirs in runs], suite.target)
    print(
        f"  by token counts: {tokens['alone'] / tokens['within']:.2f} for sharing within items, "
        f"{tokens['alone'] / tokens['packed']:.2f} as packed over items"
    )


def _print_ratios(what: str, ratios: Sequence[float], target: float) -> None:
    middle = statistics.median(ratios)
    print(
        f"  {what}ratio {middle:.2f} (from {min(ratios):.2f} to {max(ratios):.2f}), "
        f"target {target}: {_met(middle >= target)}"
    )


def _print_agreement(ours: list[tuple[float, bool]], theirs: list[tuple[float, bool]]) -> None:
    largest = max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True))
    flags = sum(a[1] != b[1] for a, b in zip(ours, theirs, strict=True))
    print(
        f"  largest difference of log-probabilities {largest:.1e}, target {TOLERANCE_NATS}: "
        f"{_met(largest <= TOLERANCE_NATS)}; greedy flags that differ: {flags}"
    )


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def whole_gate(
    candidate: Path, champion: Path, data: Path, sizes: dict[str, int], repeats: int
) -> None:
    """Print a gate against a measured champion beside lm-eval on both checkpoints."""
    with tempfile.TemporaryDirectory(prefix="hallmark-bench-") as scratch:
        policy = Path(scratch) / "policy.yaml"
        policy.write_text(POLICY.replace("DATA", str(data.resolve())))
        outcome(gate, [champion], policy, Path(scratch) / "champion")
        ratios = []
        print("\nwhole gate, from the start of the process to the verdict, seconds")
        print("  repeat   ours, champion measured before   lm-eval on both   ratio")
        for repeat in range(repeats):
            store = Path(scratch) / f"store-{repeat}"
            shutil.copytree(Path(scratch) / "champion", store)
            our, found = outcome(gate, [candidate, champion], policy, store)
            runs = [outcome(lm_eval_alone, f, data, sizes) for f in (candidate, champion)]
            their = sum(seconds for seconds, _ in runs)
            ratios.append(their / our)
            print(f"  {repeat + 1:6d} {our:32.1f} {their:17.1f} {ratios[-1]:7.2f}")
        _print_ratios("", ratios, GATE_TARGET)
        print(f"  accuracies of the candidate: ours {found}, lm-eval {runs[0][1]}")


def print_surroundings(folder: Path) -> None:
    versions = [
        f"{n} {importlib.metadata.version(n)}" for n in ("torch", "transformers", "lm-eval")
    ]
    print(f"command   python -m eval.bench_lm_eval {' '.join(sys.argv[1:])}")
    print(f"date      {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    print(
        f"machine   {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}, "
        f"load {os.getloadavg()[0]:.1f}, {platform.machine()}"
    )
    print(f"versions  Python {platform.python_version()}, {', '.join(versions)}")
    print(f"model     {folder.name}, float32")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets")
    parser.add_argument("--checkpoint", type=Path, help="a published checkpoint")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-gate", action="store_true", help="only the two suites")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")  # lm-eval's bars would run through the table
    with tempfile.TemporaryDirectory(prefix="hallmark-bench-") as scratch:
        candidate: Path = options.checkpoint or Path(scratch) / "random"
        if options.checkpoint is None:
            outcome(make_checkpoint, candidate, options.data)
        print_surroundings(candidate)
        requests = outcome(build_requests, options.data)[1]
        sizes = compare(candidate, requests, options.repeats)
        if not options.without_gate:
            champion = Path(scratch) / "champion"
            outcome(make_neighbour, champion, candidate)
            whole_gate(candidate, champion, options.data, sizes, options.repeats)


if __name__ == "__main__":
    main()
