"""The gateway beside its own engine, asked directly: percent of bare vLLM, and added TTFT.

Needs a running `hallmark serve` on this machine with one variant or several; the first one's
engine is found by its process, whose command line names its Unix socket.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.bench_sides import ROOT, BenchError
from loadtests.bench_table import KINDS, Measured, Results, Spread

CORES_NEEDED = 8
CONNECTIONS = 32
SECONDS = 8.0
MAX_TOKENS = 32
TARGET_SHARE = 0.97


def _get(root: str, path: str, key: str) -> Any:
    request = urllib.request.Request(root + path, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except (OSError, urllib.error.HTTPError) as error:
        raise BenchError(
            f"{root}{path}: {error}; start `hallmark serve`, and give --key"
        ) from error


def engine_socket(pid: int) -> str:
    """Where the engine under a leash answers."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if "--uds" not in words:
        raise BenchError(f"process {pid} is no engine of `hallmark serve` on this machine")
    return words[words.index("--uds") + 1]


def _ask(side: str, address: list[str], model: str, key: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtests.bench_client", *address, "--model", model]
    command += ["--key", key, "--max-tokens", str(MAX_TOKENS), "--seconds", str(SECONDS), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the load client failed on {side}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failures"]:
        raise BenchError(f"{side} failed {found['failures']} times: {found['first_failure']}")
    return found


def compare_with_vllm(root: str, key: str, *, repeats: int) -> dict[str, Any]:
    """Print and give the figures. Raises BenchError where there is nothing to compare."""
    row = _get(root, "/admin/variants", key)["variants"][0]
    name = str(_get(root, "/v1/models", key)["data"][0]["id"])
    bare = ["--socket", engine_socket(int(row["pid"]))]
    gateway = ["--port", root.rsplit(":", 1)[1].strip("/")]
    sides = {"vllm": (bare, name), "hallmark": (gateway, f"{name}@{row['variant']}")}
    measured = []
    for repeat in range(repeats):
        for kind in KINDS:
            for connections in (1, CONNECTIONS):
                for side, (address, model) in sides.items():
                    options = ["--connections", str(connections)]
                    found = _ask(
                        side,
                        address,
                        model,
                        key,
                        *options,
                        *(["--stream"] if kind == "sse" else []),
                    )
                    measured.append(
                        Measured(
                            side, kind, connections, repeat, found["rate"], found["p50_ms"],
                            found["p99_ms"], found["first_p50_ms"],
                        )
                    )  # fmt: skip
    results = Results(measured)
    cores = os.cpu_count() or 1
    print(f"\nover a real vLLM, {cores} cores for client, gateway and engine together:")
    for kind in KINDS:
        share = results.ratio("hallmark", "vllm", kind, CONNECTIONS)
        print(f"  {kind} at {CONNECTIONS} connections: {_percent(share)} of bare vLLM")
    added = results.added("hallmark", "vllm", "sse", 1, "first_p50_ms")
    print(f"  TTFT added at 1 connection, p50: {'-' if added is None else added.shown()} ms")
    if cores < CORES_NEEDED:
        verdict = f"not measured: it is for {CORES_NEEDED} free cores, this machine has {cores}"
    else:
        share = results.ratio("hallmark", "vllm", "json", CONNECTIONS)
        verdict = "met" if share is not None and share.middle >= TARGET_SHARE else "MISSED"
    print(f"  at least {TARGET_SHARE:.0%} of bare vLLM: {verdict}")
    return {"measured": [asdict(one) for one in measured], "verdict": verdict}


def _percent(share: Spread | None) -> str:
    if share is None:
        return "-"
    return f"{share.middle:.1%} ({share.low:.1%} to {share.high:.1%})"
