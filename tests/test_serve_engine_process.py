"""How an engine is run, and that nothing of it outlives its gateway."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serve import leash
from serve.engine_process import EngineProcess, Launch, launch, split_cores
from serve.settings import EngineOptions, ServeSettings, ServingPlan, VariantPlan

# A process that has a child of its own, as an engine has, and will not end by being asked.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def settings(tmp_path: Path, **engine: object) -> ServeSettings:
    plan = ServingPlan(model_name="support", variants=(VariantPlan(name="a", checkpoint=tmp_path),))
    return ServeSettings(plan=plan, home=tmp_path, engine=EngineOptions.model_validate(engine))


def command(tmp_path: Path, *, cpu: bool, **engine: object) -> Launch:
    return launch(
        settings(tmp_path, **engine), tmp_path / "model", Path("/tmp/s"), tmp_path / "log",
        cores=(0, 1, 2), environ={"PATH": "/bin", "VLLM_SERVER_DEV_MODE": "1"}, cpu=cpu,
    )  # fmt: skip


def value_after(flag: str, what: Launch) -> str:
    return what.command[what.command.index(flag) + 1]


def test_a_cpu_engine_measures_as_the_gate_did_and_starts_quickly(tmp_path):
    what = command(tmp_path, cpu=True)
    assert value_after("--dtype", what) == "float32"
    assert value_after("--kv-cache-memory-bytes", what) == str(2**28)
    assert value_after("--distributed-executor-backend", what) == "uni"
    assert "--enforce-eager" in what.command
    assert what.environment["OMP_NUM_THREADS"] == "2"
    assert what.cores == (0, 1, 2)


def test_a_gpu_engine_is_left_to_vllms_own_defaults(tmp_path):
    what = command(tmp_path, cpu=False)
    assert value_after("--dtype", what) == "auto"
    assert not {"--enforce-eager", "--kv-cache-memory-bytes"} & set(what.command)
    assert what.cores is None


def test_options_win_over_both(tmp_path):
    what = command(
        tmp_path, cpu=True, dtype="bfloat16", compile=True, max_model_len=99, kv_cache_gib=2,
        extra_args=("--seed", "3"), fork=False,
    )  # fmt: skip
    assert value_after("--dtype", what) == "bfloat16"
    assert value_after("--max-model-len", what) == "99"
    assert value_after("--kv-cache-memory-bytes", what) == str(2 * 2**30)
    assert value_after("-m", what) == "vllm.entrypoints.launchers.api_server.entry"
    assert what.command[-2:] == ("--seed", "3")
    assert "--enforce-eager" not in what.command


def test_development_endpoints_stay_off_whatever_the_caller_exports(tmp_path):
    assert command(tmp_path, cpu=True).environment["VLLM_SERVER_DEV_MODE"] == "0"


def test_variants_get_disjoint_cores_where_there_are_enough():
    assert split_cores([0, 1], 2) == [(0,), (1,)]
    assert split_cores([0, 1, 2, 3, 4], 2) == [(0, 1), (2, 3)]
    assert split_cores([0, 1], 1) == [(0, 1)]
    assert split_cores([0], 2) == [(0,), (0,)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.fixture
def quick_leash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The leash as it is, but with little patience."""
    copy = tmp_path / "leash.py"
    copy.write_text(
        Path(leash.__file__).read_text().replace("TERM_SECONDS = 5.0", "TERM_SECONDS = 0.3")
    )
    monkeypatch.setattr(leash, "__file__", str(copy))
    return copy


async def test_stopping_an_engine_ends_its_children_too(quick_leash, tmp_path):
    log = tmp_path / "logs" / "engine.log"
    what = Launch((sys.executable, "-c", STUBBORN), dict(os.environ), None, log)
    process = await EngineProcess.start(what)
    for _ in range(200):
        if len(log.read_text().split()) == 2:
            break
        await asyncio.sleep(0.05)
    pids = [int(text) for text in log.read_text().split()]
    assert all(map(alive, pids))
    await process.stop(5)
    wait_for(lambda: not any(map(alive, pids)))


async def test_an_engine_that_ends_by_itself_gives_its_code_and_last_words(tmp_path):
    code = "import sys; print('no such model'); sys.exit(3)"
    what = Launch((sys.executable, "-c", code), dict(os.environ), (0,), tmp_path / "log")
    process = await EngineProcess.start(what)
    assert await process.wait() == 3
    assert process.log_tail() == "no such model"


def test_a_gateway_killed_by_sigkill_takes_its_engines_with_it(quick_leash, tmp_path):
    gateway = subprocess.Popen(
        [
            sys.executable, "-c",
            "import subprocess, sys, time\n"
            "engine = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE,"
            " start_new_session=True)\n"
            "time.sleep(600)",
            str(quick_leash), sys.executable, "-c", STUBBORN,
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert gateway.stdout is not None
    pids = [int(text) for text in gateway.stdout.readline().split()]
    assert all(map(alive, pids))
    gateway.send_signal(signal.SIGKILL)
    gateway.wait()
    wait_for(lambda: not any(map(alive, pids)))
    gateway.stdout.close()
