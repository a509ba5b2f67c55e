"""The gateways that the benchmark compares: how each is started over the same mock upstream."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
API_KEY = "key-of-the-benchmark"
LITELLM = "litellm[proxy]==1.106.2"
READY_SECONDS = 300.0
QUESTION = b'{"model":"support","messages":[{"role":"user","content":"hi"}],"user":"u"}'


class BenchError(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Running:
    """A gateway that answers on a port."""

    name: str
    port: int
    pid: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands(folder: Path, mock_socket: Path) -> dict[str, list[str]]:
    """How to start each side but the mock and LiteLLM, its port left out."""
    python, there = [sys.executable, "-m"], ["--socket", str(mock_socket)]
    return {
        "relay": [*python, "loadtests.bare_relay", str(mock_socket)],
        "hallmark": [*python, "tests.gateway_over_mock", *there, "--home", str(folder / "home")],
        "fastapi": [*python, "loadtests.fastapi_proxy", *there],
    }


@contextlib.contextmanager
def started(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    port: int | None = None,
    environ: dict[str, str] | None = None,
) -> Iterator[Running]:
    """A side in a process of its own, once it answers; ended with SIGTERM."""
    port = port or free_port()
    flag = [str(port)] if name == "relay" else ["--port", str(port)]
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *flag],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environ or {})},
        )
    try:
        _wait(name, port, process, log)
        yield Running(name, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=QUESTION,
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {API_KEY}"},
    )
    said = "nothing"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"{name} ended:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if b"finish_reason" in answer.read():
                    return
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read()[:300]!r}"
        except OSError as error:
            said = str(error)
        time.sleep(0.1)
    raise BenchError(f"{name} did not answer within {READY_SECONDS:g} s: {said}; see {log}")


def install_litellm(folder: Path) -> Path:
    """LiteLLM's proxy in an environment of its own below ``folder``, once. Raises BenchError."""
    environment = folder / "litellm"
    program = environment / "bin" / "litellm"
    if program.exists():
        return program
    uv = Path(sys.executable).with_name("uv")
    for command in (
        [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        [str(uv), "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"),
         LITELLM],
    ):  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BenchError(f"{LITELLM} needs uv beside Python: {error}") from error
        if done.returncode:
            raise BenchError(f"{LITELLM} could not be installed: {done.stderr.strip()[-500:]}")
    return program


def litellm_command(program: Path, folder: Path, mock_port: int) -> list[str]:
    """One worker, no key, no database: what its quick start shows."""
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n"
        "  - model_name: support\n"
        "    litellm_params:\n"
        "      model: openai/support\n"
        f"      api_base: http://127.0.0.1:{mock_port}/v1\n"
        "      api_key: none\n"
        "litellm_settings:\n"
        "  telemetry: false\n"
    )
    return [str(program), "--config", str(config), "--host", "127.0.0.1", "--num_workers", "1"]


LITELLM_ENVIRON = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    # It refuses to start without a key otherwise; to check one would only cost it time.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
