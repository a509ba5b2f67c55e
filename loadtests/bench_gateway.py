"""What the gateway costs, beside its alternatives over the same upstream (make bench-gateway).

    python -m loadtests.bench_gateway --out build/bench-gateway.json

Sides: the mock upstream itself, a bare relay (38 lines of raw ASGI and aiohttp), the gateway
with every feature on, a FastAPI+httpx proxy, and LiteLLM's proxy. All run on this machine at the
same time and are asked in turn, each in each repeat; the load comes from a process of its own.
Then MEMORY_REQUESTS requests go through the gateway, whose memory must stay flat. With
``--vllm URL`` a running `hallmark serve` is compared with its own bare vLLM engine too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtests.bench_sides import (
    API_KEY,
    LITELLM_ENVIRON,
    ROOT,
    BenchError,
    Running,
    commands,
    free_port,
    install_litellm,
    litellm_command,
    started,
)
from loadtests.bench_table import KINDS, OURS, Measured, Results, table, target_table, targets
from loadtests.bench_vllm import compare_with_vllm

SIDES = ("mock", "relay", "hallmark", "fastapi", "litellm")
CONNECTIONS = (1, 32, 256)
MEMORY_REQUESTS = 100_000
SETTLED_REQUESTS = 30_000  # until then caches of bounded size fill up
FLAT = 1.05


@dataclass(frozen=True)
class Plan:
    """What is measured, for how long."""

    sides: tuple[str, ...] = SIDES
    connections: tuple[int, ...] = CONNECTIONS
    seconds: float = 2.5
    repeats: int = 3
    memory_requests: int = MEMORY_REQUESTS


def ask(port: int, *options: object) -> dict[str, Any]:
    """One run of the load client. Raises BenchError where nothing was answered."""
    command = [sys.executable, "-m", "loadtests.bench_client", "--port", str(port)]
    command += ["--key", API_KEY, *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the load client failed: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(running: Running, kind: str, connections: int, repeat: int, seconds: float) -> Measured:
    options: list[object] = ["--connections", connections, "--seconds", seconds]
    found = ask(running.port, *options, *(["--stream"] if kind == "sse" else []))
    if found["failures"]:
        print(f"{running.name}: {found['failures']} failures: {found['first_failure'][:200]!r}")
    return Measured(
        side=running.name,
        kind=kind,
        connections=connections,
        repeat=repeat,
        rate=found["rate"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        first_p50_ms=found["first_p50_ms"],
        failures=found["failures"],
    )


@contextlib.contextmanager
def all_sides(plan: Plan, folder: Path) -> Iterator[list[Running]]:
    """The sides that could be started; the others say why not."""
    socket = folder / "mock.sock"
    mock = [sys.executable, "-m", "loadtests.mock_upstream", "--socket", str(socket)]
    with contextlib.ExitStack() as stack:
        mock_port = free_port()
        running = [stack.enter_context(started("mock", mock, folder, port=mock_port))]
        for name, command in commands(folder, socket).items():
            if name in plan.sides:
                running.append(stack.enter_context(started(name, command, folder)))
        if "litellm" in plan.sides:
            try:
                print("installing LiteLLM in an environment of its own, once", flush=True)
                program = install_litellm(ROOT / "build" / "bench")
                command = litellm_command(program, folder, mock_port)
                side = started("litellm", command, folder, environ=LITELLM_ENVIRON)
                running.append(stack.enter_context(side))
            except BenchError as error:
                print(f"litellm is not measured: {error}", flush=True)
        yield [one for one in running if one.name in plan.sides]


def run_all(plan: Plan, running: Sequence[Running]) -> list[Measured]:
    """Each load in each repeat on every side in turn, beginning with another one each time."""
    found = []
    loads = [(kind, number) for kind in KINDS for number in plan.connections]
    total, done = plan.repeats * len(loads) * len(running), 0
    for repeat in range(plan.repeats):
        for load, (kind, number) in enumerate(loads):
            first = (repeat + load) % len(running)
            for side in [*running[first:], *running[:first]]:
                found.append(measure(side, kind, number, repeat, plan.seconds))
                done += 1
                print(f"\r{done} of {total}: {side.name} {kind} {number}   ", end="", flush=True)
    print()
    return found


def resident_mib(pid: int) -> float:
    """Memory of a process that is its own, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    if found is None:
        raise BenchError(f"process {pid} shows no RssAnon")
    return int(found[1]) / 1024


def memory(ours: Running, num_requests: int) -> tuple[float, float]:
    """MiB after the caches have filled, and after all requests."""
    settled = min(SETTLED_REQUESTS, num_requests // 3)
    ask(ours.port, "--connections", 32, "--requests", settled)
    before = resident_mib(ours.pid)
    ask(ours.port, "--connections", 32, "--requests", num_requests - settled)
    return before, resident_mib(ours.pid)


def records(folder: Path) -> int:
    """Rows that the gateway's ledger has, once it is closed."""
    with contextlib.closing(sqlite3.connect(folder / "home" / "ledger.db")) as ledger:
        return int(ledger.execute("SELECT count(*) FROM requests").fetchone()[0])


def bench(plan: Plan, folder: Path) -> dict[str, Any]:
    with all_sides(plan, folder) as running:
        measured = run_all(plan, running)
        ours = next((one for one in running if one.name == OURS), None)
        if ours is not None and plan.memory_requests:
            before, after = memory(ours, plan.memory_requests)
        else:
            before = after = 0.0
    results = Results(measured)
    rows = targets(results)
    print(
        f"\n{os.cpu_count()} cores, client and mock among them; medians of {plan.repeats} repeats,"
    )
    print("rates with the smallest and the largest; added: to the mock asked without a gateway\n")
    print(table(results, plan.sides, plan.connections))
    print()
    print(target_table(rows))
    if before:
        verdict = "met" if after <= before * FLAT else "MISSED"
        print(
            f"| memory over {plan.memory_requests:,} requests, MiB | {before:.1f} to {after:.1f} "
            f"| at most {FLAT:g} times | {verdict} |"
        )
    rows_written = records(folder) if ours is not None else 0
    print(f"\nrecords in the gateway's ledger: {rows_written:,}")
    return {
        "cores": os.cpu_count(),
        "measured": [asdict(one) for one in measured],
        "targets": [asdict(row) | {"met": row.met} for row in rows],
        "memory_mib": [before, after],
        "records": rows_written,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--repeats", type=int, default=Plan.repeats)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--out", type=Path, help="everything that was measured, as JSON")
    parser.add_argument("--vllm", help="a running `hallmark serve`, as http://127.0.0.1:8000")
    parser.add_argument("--key", default="none", help="an admin API key of --vllm")
    given = parser.parse_args()
    plan = Plan(tuple(given.sides), seconds=given.seconds, repeats=given.repeats)
    try:
        with tempfile.TemporaryDirectory(prefix="hallmark-bench-") as folder:
            found = bench(plan, Path(folder))
        if given.vllm:
            found["vllm"] = compare_with_vllm(given.vllm, given.key, repeats=given.repeats)
        else:
            print("over a real vLLM: not measured; start `hallmark serve` and give --vllm URL")
    except BenchError as error:
        sys.exit(f"error: {error}")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
