"""vLLM's own server for CPU builds, its engine process forked instead of spawned.

    python serve/cpu_server.py --model FOLDER --uds SOCKET ...

On CPUs vLLM insists on spawning, and a spawned process imports torch and transformers
again: with one engine process that is half of the start (43 s became 25 s on one busy
core) and 700 MB. vLLM spawns there to bind OpenMP threads, which `engine_process` does
from outside. Only the standard library is changed, and only in this process, so nothing
here depends on where vLLM keeps its modules. HALLMARK_ENGINE_FORK=false does without.
"""

from __future__ import annotations

import multiprocessing
import runpy
from multiprocessing.context import BaseContext

SERVER = "vllm.entrypoints.launchers.api_server.entry"
_get_context = multiprocessing.get_context


def get_context(method: str | None = None) -> BaseContext:
    return _get_context("fork" if method == "spawn" else method)


if __name__ == "__main__":
    multiprocessing.get_context = get_context  # type: ignore[assignment]  # the point of it all
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
