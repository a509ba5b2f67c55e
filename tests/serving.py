"""A gateway with real vLLM engines, started as a user starts it, for tests of several rooms."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.home import Home

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 420.0


@dataclass(frozen=True)
class RunningServer:
    """``base_url`` ends in /v1, as the openai client wants it; ``root`` does not."""

    base_url: str
    root: str
    api_key: str
    model: str
    experiment: str
    home: Home
    checkpoints: Mapping[str, str]
    process: subprocess.Popen[bytes]
    log: Path
    start_seconds: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gateway_command(
    home: Home, variants: Mapping[str, Path], *, port: int, model: str, experiment: str
) -> list[str]:
    command = [
        sys.executable, "-m", "hallmark", "--home", str(home.root), "--ledger", home.ledger_url,
        "serve", "--port", str(port), "--model", model, "--experiment", experiment,
        "--store-conversations",
    ]  # fmt: skip
    for name, folder in variants.items():
        command += ["--variant", f"{name}={folder}:1"]
    return command


@contextlib.contextmanager
def start_gateway(
    home: Home,
    variants: Mapping[str, Path],
    *,
    model: str = "support",
    experiment: str = "spring",
    api_key: str = "",
    environ: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[RunningServer]:
    """`hallmark serve` in a process of its own, ready to answer; ended with SIGTERM."""
    from registry.checkpoint import read_manifest

    port = free_port()
    log = home.root / "gateway.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *gateway_command(home, variants, port=port, model=model, experiment=experiment),
                *options,
            ],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environ or {}), "HALLMARK_API_KEYS": api_key},
            start_new_session=True,
        )
    root = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(root, process, log)
        yield RunningServer(
            base_url=f"{root}/v1",
            root=root,
            api_key=api_key,
            model=model,
            experiment=experiment,
            home=home,
            checkpoints={
                name: read_manifest(folder).weights_digest
                for name, folder in variants.items()
                if folder.is_dir()  # and no alias
            },
            process=process,
            log=log,
            start_seconds=time.monotonic() - began,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(root: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the gateway ended:\n{log.read_text()[-4000:]}"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{root}/readyz", timeout=5):
            return
        time.sleep(0.25)
    raise AssertionError(f"not ready after {START_SECONDS:g} s:\n{log.read_text()[-4000:]}")
