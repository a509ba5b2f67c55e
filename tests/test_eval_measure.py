"""Collecting a policy's evidence: cached by weights and configuration, resumable, verified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from eval.checks import (
    CHECKS,
    BenchmarkConfig,
    BitsPerByteConfig,
    Measured,
)
from eval.measure import MeasureError, collect
from eval.resume import LocalPool, Pool
from eval.runner import FakeRunner, Runner
from registry.checkpoint import CheckpointError, read_manifest
from registry.evidence import EvidenceError, EvidenceStore, Item


@dataclass(frozen=True)
class Entry:
    name: str
    check: str
    config: Any


@dataclass(frozen=True)
class Policy:
    entries: tuple[Entry, ...]


@dataclass
class Opener:
    """Opens fakes of the folder's own weights, and counts how often."""

    opened: int = 0

    def __call__(self, folder: Path) -> Pool:
        self.opened += 1
        digest = read_manifest(folder).weights_digest
        fake = FakeRunner()
        fake.facts = fake.facts.model_copy(update={"weights_digest": digest})
        return LocalPool(fake)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "abc"}) + "\n")
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"id": "p", "good": "ab", "bad": "abc"}) + "\n")
    return path


@pytest.fixture
def policy(data: Path, pairs: Path) -> Policy:
    return Policy(
        (
            Entry("bits", "bits_per_byte", BitsPerByteConfig(data=data)),
            Entry("grammar", "benchmark", BenchmarkConfig(data=pairs, kind="minimal_pairs")),
        )
    )


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    return EvidenceStore(tmp_path / "evidence")


def test_evidence_comes_back_under_the_entries_names(
    policy: Policy, tiny_checkpoint: Path, store: EvidenceStore
) -> None:
    evidence = collect(policy, CHECKS, tiny_checkpoint, store, opened_by=Opener())
    assert list(evidence) == ["bits", "grammar"]
    assert evidence["grammar"].items[0].value == 1.0  # the shorter sentence costs fewer nats
    assert evidence["bits"].facts.weights_digest == read_manifest(tiny_checkpoint).weights_digest


def test_what_was_measured_is_never_measured_again(
    policy: Policy, tiny_checkpoint: Path, store: EvidenceStore
) -> None:
    opener = Opener()
    first = collect(policy, CHECKS, tiny_checkpoint, store, opened_by=opener)
    second = collect(policy, CHECKS, tiny_checkpoint, store, opened_by=opener)
    assert opener.opened == 1
    assert second == first


def test_other_weights_other_files_and_other_settings_are_measured_anew(
    policy: Policy,
    data: Path,
    tiny_checkpoint: Path,
    make_tiny_checkpoint: Callable[..., Path],
    store: EvidenceStore,
) -> None:
    opener = Opener()
    collect(policy, CHECKS, tiny_checkpoint, store, opened_by=opener)
    other = collect(policy, CHECKS, make_tiny_checkpoint("b", seed=1), store, opened_by=opener)
    assert opener.opened == 2
    limited = replace(policy.entries[0], config=BitsPerByteConfig(data=data, max_documents=1))
    collect(Policy((limited,)), CHECKS, tiny_checkpoint, store, opened_by=opener)
    assert opener.opened == 3
    data.write_text(json.dumps({"id": "a", "text": "abcd"}) + "\n")
    changed = collect(policy, CHECKS, tiny_checkpoint, store, opened_by=opener)
    assert opener.opened == 4
    assert changed["bits"].config_digest != other["bits"].config_digest
    assert changed["grammar"].config_digest == other["grammar"].config_digest


def test_where_the_files_lie_does_not_matter(
    policy: Policy, data: Path, tmp_path: Path, tiny_checkpoint: Path, store: EvidenceStore
) -> None:
    moved = tmp_path / "moved.jsonl"
    shutil.copy(data, moved)
    again = replace(policy.entries[0], config=BitsPerByteConfig(data=moved))
    opener = Opener()
    here = collect(policy, CHECKS, tiny_checkpoint, store, opened_by=opener)
    there = collect(Policy((again,)), CHECKS, tiny_checkpoint, store, opened_by=opener)
    assert opener.opened == 1
    assert there["bits"] == here["bits"]
    assert str(tmp_path) not in here["bits"].model_dump_json()


def test_two_entries_of_the_same_measurement_share_it(
    policy: Policy, tiny_checkpoint: Path, store: EvidenceStore
) -> None:
    twin = Policy((policy.entries[0], replace(policy.entries[0], name="bits_again")))
    evidence = collect(twin, CHECKS, tiny_checkpoint, store, opened_by=Opener())
    assert evidence["bits"] == evidence["bits_again"]


def test_an_interrupted_gate_goes_on_where_it_stopped(
    policy: Policy, tiny_checkpoint: Path, store: EvidenceStore
) -> None:
    measured: list[str] = []

    def interrupted(runner: Runner, config: Any) -> Measured:
        raise KeyboardInterrupt

    def counted(runner: Runner, config: Any) -> Measured:
        measured.append("benchmark")
        return CHECKS[1].measure(runner, config)

    broken = (CHECKS[0], replace(CHECKS[1], measure=interrupted))
    with pytest.raises(KeyboardInterrupt):
        collect(policy, broken, tiny_checkpoint, store, opened_by=Opener())
    never = replace(CHECKS[0], measure=interrupted)  # would fail where measured again
    evidence = collect(
        policy, (never, replace(CHECKS[1], measure=counted)), tiny_checkpoint, store,
        opened_by=Opener(),
    )  # fmt: skip
    assert measured == ["benchmark"]
    assert set(evidence) == {"bits", "grammar"}


def test_progress_counts_entries_and_the_parts_of_each(
    policy: Policy, tiny_checkpoint: Path, store: EvidenceStore
) -> None:
    seen: list[tuple[float, int]] = []
    collect(
        policy, CHECKS, tiny_checkpoint, store, opened_by=Opener(),
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {2}
    assert {0, 0.95, 1, 1.95, 2} <= {done for done, _ in seen}


@pytest.mark.parametrize("damage", [b"", b"{", b'{"digest":"sha256:0","evidence":{}}'])
def test_a_damaged_evidence_file_is_an_error_that_names_it(
    policy: Policy, tiny_checkpoint: Path, store: EvidenceStore, damage: bytes
) -> None:
    collect(policy, CHECKS, tiny_checkpoint, store, opened_by=Opener())
    [path] = store.root.glob("*/bits_per_byte-*.json")
    path.write_bytes(damage)
    with pytest.raises(EvidenceError, match=r"bits_per_byte-.*\.json.* to measure again"):
        collect(policy, CHECKS, tiny_checkpoint, store, opened_by=Opener())


def test_a_changed_value_in_an_evidence_file_is_found(
    policy: Policy, tiny_checkpoint: Path, store: EvidenceStore
) -> None:
    collect(policy, CHECKS, tiny_checkpoint, store, opened_by=Opener())
    [path] = store.root.glob("*/benchmark-*.json")
    text = path.read_text()
    assert '"value":1.0' in text
    path.write_text(text.replace('"value":1.0', '"value":0.0'))
    with pytest.raises(EvidenceError, match="does not match its digest"):
        collect(policy, CHECKS, tiny_checkpoint, store, opened_by=Opener())


def test_a_changed_byte_in_the_weights_is_refused_even_where_all_is_cached(
    policy: Policy, tiny_checkpoint: Path, tmp_path: Path, store: EvidenceStore
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_checkpoint, copy)
    collect(policy, CHECKS, copy, store, opened_by=Opener())
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        collect(policy, CHECKS, copy, store, opened_by=Opener())


def test_an_unknown_check_and_a_missing_file_are_named(
    policy: Policy, tiny_checkpoint: Path, tmp_path: Path, store: EvidenceStore
) -> None:
    unknown = Policy((replace(policy.entries[0], check="blimb"),))
    with pytest.raises(MeasureError, match="no check named 'blimb'; have answer_quality"):
        collect(unknown, CHECKS, tiny_checkpoint, store, opened_by=Opener())
    gone = BitsPerByteConfig(data=tmp_path / "gone.jsonl")
    missing = Policy((replace(policy.entries[0], config=gone),))
    with pytest.raises(MeasureError, match=r"entry bits: .*gone\.jsonl cannot be read"):
        collect(missing, CHECKS, tiny_checkpoint, store, opened_by=Opener())


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ((), "measured no item"),
        ((Item(key="a", content_hash="h", value=1.0),) * 2, "two items the key 'a'"),
    ],
)
def test_a_check_that_measures_nothing_or_one_item_twice_is_refused(
    items: tuple[Item, ...],
    message: str,
    policy: Policy,
    tiny_checkpoint: Path,
    store: EvidenceStore,
) -> None:
    odd = replace(CHECKS[0], measure=lambda runner, config: Measured(items))
    with pytest.raises(MeasureError, match=message):
        collect(policy, (odd, CHECKS[1]), tiny_checkpoint, store, opened_by=Opener())
    assert not store.root.exists()


def test_the_same_measurement_gives_the_same_evidence_digest(
    policy: Policy, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    one = collect(policy, CHECKS, tiny_checkpoint, EvidenceStore(tmp_path / "one"))
    other = collect(policy, CHECKS, tiny_checkpoint, EvidenceStore(tmp_path / "other"))
    assert {name: e.digest for name, e in one.items()} == {
        name: e.digest for name, e in other.items()
    }
