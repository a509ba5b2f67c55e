"""Runs one command and sees to it that nothing of it outlives the process that asked.

    python leash.py COMMAND ...

It is started in a process group of its own, with a pipe as standard input. When the
command ends, or when the pipe closes (the gateway asked, or died, even by SIGKILL), the
command gets SIGTERM, some seconds, and then the whole group gets SIGKILL. Only the
standard library, so that it costs next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

TERM_SECONDS = 5.0


def main(command: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by the command
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def follow_the_pipe() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(TERM_SECONDS)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=follow_the_pipe, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
