"""The gateway under mixed load for a long time (make soak): does it leak, lose or go wrong?

    python -m loadtests.soak --minutes 30

Over the mock upstream, with every feature on: people who chat and stream, who hang up before and
in the middle of an answer, who send nonsense, and who give feedback. Every answer is compared
with what the mock said. Prints a line for each thirtieth of the time, and at the end what must
hold; exits with 1 where something does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from loadtests.bench_client import percentile
from loadtests.bench_gateway import FLAT, resident_mib
from loadtests.bench_sides import API_KEY, BenchError, Running, commands, free_port, started
from loadtests.mock_upstream import ANSWER, NUM_CHUNKS

ANSWER_BODY = ANSWER.partition(b"\r\n\r\n")[2]
STREAM_TEXT = "".join(f" word{number}" for number in range(NUM_CHUNKS))
PAUSE_SECONDS = 0.02  # between one request of a person and the next
NUM_LINES = 30
REMEMBERED = 5_000  # request ids that are looked up in the ledger afterwards
KEEP_EVERY = 50
SETTLE_SECONDS = 10.0
_CONTENT = re.compile(rb'"content":"([^"]*)"')
_SERIES = re.compile(r"^(hallmark_\w+)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


@dataclass
class Seen:
    """What the people of the load saw."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)

    def answer(self, kind: str, began: float, request_id: str) -> None:
        self.counts[kind] += 1
        self.took_ms.append((time.perf_counter() - began) * 1000)
        if self.counts[kind] % KEEP_EVERY == 0 and len(self.answered) < REMEMBERED:
            self.answered.append(request_id)

    def complain(self, what: str) -> None:
        self.counts["wrong"] += 1
        if len(self.wrong) < 20:
            self.wrong.append(what)


class People:
    """Each method is one person's one deed; all are repeated until the time is over."""

    def __init__(self, session: aiohttp.ClientSession, root: str, seen: Seen) -> None:
        self._session = session
        self._url = f"{root}/v1/chat/completions"
        self._feedback = f"{root}/v1/feedback"
        self._seen = seen
        self._rng = random.Random(7)

    def _body(self, *, stream: bool) -> dict[str, object]:
        user = f"user-{self._rng.randrange(10_000)}"
        messages = [{"role": "user", "content": "Where is my order 10042?"}]
        body: dict[str, object] = {"model": "support", "messages": messages, "user": user}
        return body | ({"stream": True} if stream else {})

    async def chat(self) -> None:
        began = time.perf_counter()
        async with self._session.post(self._url, json=self._body(stream=False)) as answer:
            data = await answer.read()
            if answer.status != 200 or data != ANSWER_BODY:
                self._seen.complain(f"chat: {answer.status} {data[:100]!r}")
                return
            self._seen.answer("chat", began, answer.headers["x-request-id"])

    async def stream(self) -> None:
        began = time.perf_counter()
        async with self._session.post(self._url, json=self._body(stream=True)) as answer:
            data = await answer.read()
            said = b"".join(_CONTENT.findall(data)).decode()
            whole = said == STREAM_TEXT and data.endswith(b"data: [DONE]\n\n")
            if answer.status != 200 or not whole:
                self._seen.complain(f"stream: {answer.status} {data[-100:]!r}")
                return
            self._seen.answer("stream", began, answer.headers["x-request-id"])

    async def hang_up(self) -> None:
        """Before the headers, or after some of the stream."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rng.uniform(0, 0.01)):
                async with self._session.post(self._url, json=self._body(stream=True)) as answer:
                    await answer.content.read(self._rng.randrange(1, 8000))
        self._seen.counts["hang up"] += 1

    async def talk_nonsense(self) -> None:
        cases: Sequence[tuple[bytes, str, int]] = (
            (b'{"model": "sup', API_KEY, 400),
            (b'{"model": "gpt", "messages": []}', API_KEY, 404),
            (b'{"messages": []}', API_KEY, 400),
            (json.dumps(self._body(stream=False)).encode(), "wrong", 401),
        )
        data, key, wanted = self._rng.choice(cases)
        headers = {"Authorization": f"Bearer {key}"}
        async with self._session.post(self._url, data=data, headers=headers) as answer:
            body = await answer.json()
            if answer.status != wanted or "message" not in body["error"]:
                self._seen.complain(f"nonsense: {answer.status} {body}")
        self._seen.counts["nonsense"] += 1

    async def give_feedback(self) -> None:
        if not self._seen.answered:
            return
        body = {"request_id": self._rng.choice(self._seen.answered), "kind": "thumb", "value": 1}
        async with self._session.post(self._feedback, json=body) as answer:
            said = await answer.json()
            if answer.status not in (200, 201):
                self._seen.complain(f"feedback: {answer.status} {said}")
                return
            self._seen.acknowledged.append(said["feedback_id"])
        self._seen.counts["feedback"] += 1
        await asyncio.sleep(0.2)


async def repeat(deed: Callable[[], Awaitable[None]], seen: Seen, until: float) -> None:
    while time.monotonic() < until:
        try:
            await deed()
        except (aiohttp.ClientError, OSError) as error:
            seen.complain(f"{getattr(deed, '__name__', 'a deed')}: {error!r}")
        await asyncio.sleep(PAUSE_SECONDS)


async def series(session: aiohttp.ClientSession, root: str) -> Counter[str]:
    """The gateway's own counts, summed over their labels."""
    found: Counter[str] = Counter()
    async with session.get(f"{root}/metrics", headers={"Accept": "text/plain"}) as answer:
        for name, value in _SERIES.findall(await answer.text()):
            found[name] += int(float(value))
    return found


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass(frozen=True)
class Outcome:
    """One thing that must hold."""

    name: str
    found: str
    holds: bool


async def soak(ours: Running, seconds: float, seen: Seen) -> list[Outcome]:
    """The load, a line for each of its thirtieths, and what can be said while the gateway runs."""
    root = f"http://127.0.0.1:{ours.port}"
    headers = {"Authorization": f"Bearer {API_KEY}"}
    sizes: list[float] = []
    open_files: list[int] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        people = People(session, root, seen)
        until = time.monotonic() + seconds
        deeds = [people.chat] * 8 + [people.stream] * 4 + [people.hang_up] * 4
        deeds += [people.talk_nonsense, people.give_feedback]
        tasks = [asyncio.create_task(repeat(deed, seen, until)) for deed in deeds]
        print("minutes  answers  p50 ms  p99 ms  wrong  MiB  files  in flight  dropped")
        for line in range(1, NUM_LINES + 1):
            await asyncio.sleep(
                max(0.0, until - seconds * (1 - line / NUM_LINES) - time.monotonic())
            )
            took = sorted(seen.took_ms)
            seen.took_ms.clear()
            sizes.append(resident_mib(ours.pid))
            open_files.append(descriptors(ours.pid))
            now = await series(session, root)
            print(
                f"{seconds * line / NUM_LINES / 60:7.1f}  {len(took):7}  "
                f"{percentile(took, 50) or 0:6.1f}  {percentile(took, 99) or 0:6.1f}  "
                f"{seen.counts['wrong']:5}  {sizes[-1]:3.0f}  {open_files[-1]:5}  "
                f"{now['hallmark_in_flight_requests']:9}  "
                f"{now['hallmark_records_dropped_total']:7}",
                flush=True,
            )
        await asyncio.gather(*tasks)
        left = now
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            left = await series(session, root)
            if not left["hallmark_in_flight_requests"]:
                break
            await asyncio.sleep(0.1)
    settled = sizes[NUM_LINES // 3]
    return [
        Outcome("wrong or lost answers", str(seen.counts["wrong"]), not seen.counts["wrong"]),
        Outcome(
            "memory from a third of the time to the end, MiB",
            f"{settled:.1f} to {sizes[-1]:.1f}",
            sizes[-1] <= settled * FLAT + 1,
        ),
        Outcome(
            "open files from a third of the time to the end",
            f"{open_files[NUM_LINES // 3]} to {open_files[-1]}",
            open_files[-1] <= open_files[NUM_LINES // 3] + 20,
        ),
        Outcome(
            "slots held after the load",
            str(left["hallmark_in_flight_requests"]),
            not left["hallmark_in_flight_requests"],
        ),
        Outcome(
            "records dropped",
            str(left["hallmark_records_dropped_total"]),
            not left["hallmark_records_dropped_total"],
        ),
    ]


def in_ledger(ledger: Path, seen: Seen) -> list[Outcome]:
    """What must have reached the disk, once the gateway has ended."""
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        requests = {row[0] for row in database.execute("SELECT request_id FROM requests")}
        feedback = {row[0] for row in database.execute("SELECT feedback_id FROM feedback")}
    lost = len(set(seen.answered) - requests)
    forgotten = len(set(seen.acknowledged) - feedback)
    return [
        Outcome(f"of {len(seen.answered)} answers, records missing", str(lost), not lost),
        Outcome(
            f"of {len(seen.acknowledged)} acknowledged feedbacks, missing",
            str(forgotten),
            not forgotten and bool(seen.acknowledged),
        ),
    ]


def run(minutes: float, folder: Path) -> tuple[Seen, list[Outcome]]:
    socket = folder / "mock.sock"
    mock = [sys.executable, "-m", "loadtests.mock_upstream", "--socket", str(socket)]
    seen = Seen()
    with started("mock", mock, folder, port=free_port()):
        with started("hallmark", commands(folder, socket)["hallmark"], folder) as ours:
            outcomes = asyncio.run(soak(ours, minutes * 60, seen))
        outcomes += in_ledger(folder / "home" / "ledger.db", seen)
    return seen, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="hallmark-soak-") as folder:
            seen, outcomes = run(given.minutes, Path(folder))
    except BenchError as error:
        sys.exit(f"error: {error}")
    print(f"\n{', '.join(f'{kind}: {count:,}' for kind, count in sorted(seen.counts.items()))}\n")
    print("| must hold | found | |\n|---|---|---|")
    for one in outcomes:
        print(f"| {one.name} | {one.found} | {'holds' if one.holds else 'BROKEN'} |")
    for complaint in seen.wrong:
        print(complaint)
    sys.exit(0 if all(one.holds for one in outcomes) else 1)


if __name__ == "__main__":
    main()
