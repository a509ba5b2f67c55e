"""An interrupted measurement goes on where it stopped, and ends with the same digests."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eval import resume
from eval.resume import LocalPool, ResumableRunner
from eval.runner import FakeRunner, Sampling
from registry.conversation import Message
from registry.evidence import EvidenceError, EvidenceStore
from tests.measuring import write_rows

ROOT = Path(__file__).resolve().parent.parent


class Interrupted(Exception):
    """Stands for Ctrl-C."""


class FlakyPool(LocalPool):
    """Stops after so many shards, and remembers what it was asked."""

    def __init__(self, runner: FakeRunner, shards: int = 10**6) -> None:
        super().__init__(runner)
        self.left = shards
        self.asked: list[list[Any]] = []

    def run(
        self, method: str, shards: Sequence[Sequence[Any]], sampling: Sampling | None
    ) -> Iterator[tuple[int, list[Any]]]:
        for index, results in super().run(method, shards, sampling):
            if self.left == 0:
                raise Interrupted
            self.left -= 1
            self.asked.append(list(shards[index]))
            yield index, results


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SHARD_SIZES", dict.fromkeys(resume.SHARD_SIZES, 4))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


REQUESTS = [(f"context {number}", " and on") for number in range(18)]


def test_a_resumed_run_asks_only_for_the_shards_that_are_missing(journal: Path) -> None:
    whole = ResumableRunner(FlakyPool(FakeRunner()), journal.with_name("other"))
    first = FlakyPool(FakeRunner(), shards=3)
    with pytest.raises(Interrupted):
        ResumableRunner(first, journal).continuations(REQUESTS)
    second = FlakyPool(FakeRunner())
    assert ResumableRunner(second, journal).continuations(REQUESTS) == whole.continuations(REQUESTS)
    assert first.asked + second.asked == [REQUESTS[at : at + 4] for at in (0, 4, 8, 12, 16)]


def test_shards_that_came_in_another_order_leave_the_others_as_they_are(journal: Path) -> None:
    class Backwards(FlakyPool):
        def run(
            self, method: str, shards: Sequence[Sequence[Any]], sampling: Sampling | None
        ) -> Iterator[tuple[int, list[Any]]]:
            for index in reversed(range(len(shards))):
                for _, results in super().run(method, [shards[index]], sampling):
                    yield index, results

    with pytest.raises(Interrupted):
        ResumableRunner(Backwards(FakeRunner(), shards=2), journal).continuations(REQUESTS)
    second = FlakyPool(FakeRunner())
    ResumableRunner(second, journal).continuations(REQUESTS)
    assert second.asked == [REQUESTS[at : at + 4] for at in (0, 4, 8)]


def test_a_line_that_was_cut_off_or_changed_is_measured_again(journal: Path) -> None:
    ResumableRunner(FlakyPool(FakeRunner()), journal).documents([f"text {n}" for n in range(12)])
    lines = journal.read_bytes().splitlines(keepends=True)
    changed = lines[2].replace(b"-6", b"-5", 1)
    assert changed != lines[2]
    journal.write_bytes(b"".join([lines[0], lines[1], changed, lines[3][:-20]]))
    again = FlakyPool(FakeRunner())
    found = ResumableRunner(again, journal).documents([f"text {n}" for n in range(12)])
    assert found == [-6.0] * 10 + [-7.0] * 2
    assert len(again.asked) == 2
    third = FlakyPool(FakeRunner())
    ResumableRunner(third, journal).documents([f"text {n}" for n in range(12)])
    assert not third.asked  # the torn line did not spoil the one written after it


def test_another_models_journal_is_thrown_away(journal: Path) -> None:
    ResumableRunner(FlakyPool(FakeRunner()), journal).documents(["a text"])
    other = FakeRunner()
    other.facts = other.facts.model_copy(update={"dtype": "bfloat16"})
    pool = FlakyPool(other)
    ResumableRunner(pool, journal).documents(["a text"])
    assert pool.asked == [["a text"]]


def test_equal_greedy_prompts_are_asked_once_and_drawn_ones_as_often_as_asked(
    journal: Path,
) -> None:
    greedy = FlakyPool(FakeRunner())
    ResumableRunner(greedy, journal).completions(["a", "a", "b"], Sampling())
    assert greedy.asked == [["a", "b"]]
    drawn = FlakyPool(FakeRunner())
    prompts = ["b", "a", "b", "c", "b", "d", "b", "e"]
    ResumableRunner(drawn, journal).completions(prompts, Sampling(temperature=1.0))
    assert drawn.asked == [["b", "b", "b", "b"], ["a", "c", "d", "e"]]


def test_an_answer_that_could_not_be_given_keeps_its_reason(journal: Path) -> None:
    dialogue = [Message(role="user", content="x" * 600)]
    first = ResumableRunner(FlakyPool(FakeRunner()), journal).answers([dialogue], Sampling())
    again = ResumableRunner(FlakyPool(FakeRunner(), shards=0), journal)
    found = again.answers([dialogue], Sampling())
    assert found[0].unscored == first[0].unscored == "the prompt fills the context"


def test_progress_counts_requests_and_what_was_already_there(journal: Path) -> None:
    seen: list[tuple[int, int]] = []
    pool = FlakyPool(FakeRunner())
    ResumableRunner(pool, journal).continuations(REQUESTS[:4])
    runner = ResumableRunner(pool, journal, advance=lambda done, total: seen.append((done, total)))
    runner.continuations(REQUESTS[:10])
    assert seen == [(4, 10), (8, 10), (10, 10)]


MEASURE = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from eval import resume

def slowly(*arguments, ask=resume.ask):
    time.sleep(0.02)  # so that whoever watches can kill within any shard
    return ask(*arguments)

resume.ask = slowly
resume.SHARD_SIZES.update(continuations=8, documents=2, answers=2, completions=2)
from eval.checks import CHECKS, AnswerQualityConfig, BenchmarkConfig, BitsPerByteConfig
from eval.measure import collect
from registry.evidence import EvidenceStore
from tests.measuring import Entry, Policy

folder, data, store = map(Path, sys.argv[1:])
pairs, documents, chats = (data / f"{name}.jsonl" for name in ("pairs", "documents", "chats"))
collect(
    Policy((
        Entry("pairs", "benchmark", BenchmarkConfig(data=pairs, kind="minimal_pairs")),
        Entry("bits", "bits_per_byte", BitsPerByteConfig(data=documents)),
        Entry("said", "answer_quality", AnswerQualityConfig(data=chats, max_tokens=24)),
    )),
    CHECKS, folder, EvidenceStore(store),
)
"""


def digests(store: Path) -> dict[str, str]:
    """Digest of each stored evidence; raises where one does not match its content."""
    found = {}
    for path in sorted(store.glob("*/*.json")):
        body = json.loads(path.read_bytes())
        facts = body["evidence"]["facts"]["weights_digest"]
        loaded = EvidenceStore(store).load(
            body["evidence"]["check"], facts, body["evidence"]["config_digest"]
        )
        assert loaded is not None
        found[path.name] = loaded.digest
    return found


def written(store: Path) -> int:
    """Lines of the journal; one that is gone ended with its measurement."""
    with contextlib.suppress(FileNotFoundError):
        return sum(path.read_bytes().count(b"\n") for path in store.glob("*/journal.jsonl"))
    return 0


def kill_within(process: subprocess.Popen[bytes], store: Path, lines: int, rest: float) -> bool:
    """Kill it ``rest`` seconds after it wrote so many lines more; False where it ended before."""
    target = written(store) + lines
    while written(store) < target:
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    time.sleep(rest)
    process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_at_random_points_a_measurement_ends_with_the_same_digests(
    make_tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_tiny_checkpoint("candidate")
    write_rows(tmp_path / "data")

    def start(store: Path) -> subprocess.Popen[bytes]:
        arguments = [str(folder), str(tmp_path / "data"), str(store)]
        return subprocess.Popen([sys.executable, "-c", MEASURE, *arguments], cwd=ROOT)

    assert start(tmp_path / "whole").wait() == 0
    expected = digests(tmp_path / "whole")
    assert len(expected) == 3
    assert not list((tmp_path / "whole").glob("*/journal.jsonl"))

    # Where it is killed hangs on what it wrote, not on the clock, which other work slows.
    seed = time.time_ns()
    rng = random.Random(seed)
    store = tmp_path / "killed"
    kills = 0
    for _ in range(3):
        process = start(store)
        kills += kill_within(process, store, rng.randrange(1, 12), rng.uniform(0, 0.04))
        assert process.returncode in (0, -signal.SIGKILL), f"seed {seed}"
        assert digests(store).items() <= expected.items(), f"seed {seed}"
    assert kills > 0, f"seed {seed}"
    assert start(store).wait() == 0
    assert digests(store) == expected, f"seed {seed}"


def test_evidence_that_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    from eval.runner import FAKE_FACTS
    from registry.evidence import Evidence, Item, now

    store = EvidenceStore(tmp_path)
    evidence = Evidence(
        check="benchmark", config={}, config_digest="sha256:c", facts=FAKE_FACTS,
        items=(Item(key="a", content_hash="h", value=1.0),), seconds=0.1, created_at=now(),
    )  # fmt: skip
    path = store.save(evidence)
    path.write_bytes(path.read_bytes().replace(b'"value":1.0', b'"value":0.0'))
    with pytest.raises(EvidenceError, match="does not match its digest; delete"):
        store.load("benchmark", FAKE_FACTS.weights_digest, "sha256:c")
