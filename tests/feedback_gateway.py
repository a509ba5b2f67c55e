"""A gateway in a process of its own, over a real ledger and two engines that are played.

    python -m tests.feedback_gateway sqlite:///ledger.db --home FOLDER

It prints where it listens. A message "markup" is answered with what a hostile model would
write; any other with words by which the two variants can be told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKUP = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<a href=\"javascript:document.title='owned'\">here</a>",
    "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
)
ANSWERS = {"a": ("The parcel", " left", " on Monday."), "b": ("It", " leaves", " tomorrow.")}


@contextlib.contextmanager
def running(url: str, home: Path, *settings: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Where it listens, and its process; ended when the block ends."""
    command = [sys.executable, "-m", "tests.feedback_gateway", url, "--home", str(home), *settings]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "gateway.log").open("a") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        root = process.stdout.readline().strip()
        assert root, (home / "gateway.log").read_text()
        yield root, process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def serve(url: str, home: str, api_keys: Sequence[str]) -> None:
    from registry.ledger import Ledger
    from tests.serving_fake import bench

    with Ledger(url) as ledger:
        changes = {"home": home, "store_conversations": True, "api_keys": tuple(api_keys)}
        async with bench(ledger=ledger, **changes) as gateway:
            for name, engine in gateway.engines.items():
                engine.words = ANSWERS[name]
                engine.words_for["markup"] = MARKUP
            ending = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
            print(gateway.root, flush=True)
            await ending.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--home", required=True)
    parser.add_argument("--api-key", action="append", default=[])
    given = parser.parse_args()
    asyncio.run(serve(given.url, given.home, given.api_key))
