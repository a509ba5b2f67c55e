"""Debian's redis-server on a Unix socket of its own, without a disk, to test with."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path


class RedisServer:
    """``url`` is good for redis-py; ``stop`` and ``start`` are an outage and its end."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._folder = tempfile.TemporaryDirectory(prefix="hm-redis-")
        self._path = Path(self._folder.name) / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._path}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                self._program, "--port", "0", "--unixsocket", str(self._path), "--save", "",
                "--appendonly", "no", "--dir", self._folder.name,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(500):
            if self._answers():
                return
            time.sleep(0.01)
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def command(self, *words: str) -> bytes:
        """The reply to one command, raw."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self._path))
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(4096)

    def _answers(self) -> bool:
        try:
            return self.command("PING") == b"+PONG\r\n"
        except OSError:
            return False
