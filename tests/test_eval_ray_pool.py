"""A real Ray with two local workers gives the evidence that one process gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eval import resume
from eval.checks import CHECKS, AnswerQualityConfig, BenchmarkConfig, BitsPerByteConfig
from eval.measure import collect
from eval.ray_pool import RayError, RayPool
from registry.evidence import EvidenceStore
from tests.measuring import Entry, Policy, write_rows


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_two_workers_give_the_same_evidence_digests_as_one_process(
    make_tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(resume, "SHARD_SIZES", dict.fromkeys(resume.SHARD_SIZES, 8))
    folder = make_tiny_checkpoint("candidate")
    write_rows(tmp_path)
    policy = Policy(
        (
            Entry(
                "pairs", "benchmark",
                BenchmarkConfig(data=tmp_path / "pairs.jsonl", kind="minimal_pairs"),
            ),
            Entry("bits", "bits_per_byte", BitsPerByteConfig(data=tmp_path / "documents.jsonl")),
            Entry(
                "said", "answer_quality",
                AnswerQualityConfig(data=tmp_path / "chats.jsonl", max_tokens=16),
            ),
        )
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    here = collect(policy, CHECKS, folder, EvidenceStore(tmp_path / "here"))
    torch.set_num_threads(threads)
    pools: list[RayPool] = []

    def on_the_cluster(where: Path) -> RayPool:
        pools.append(RayPool(where, "auto"))
        return pools[-1]

    there = collect(
        policy, CHECKS, folder, EvidenceStore(tmp_path / "there"), opened_by=on_the_cluster
    )
    assert len(pools[0].workers) == 2
    assert {n: e.digest for n, e in there.items()} == {n: e.digest for n, e in here.items()}


def test_a_cluster_that_is_not_there_is_an_error_that_says_how_to_start_one(
    tiny_checkpoint: Path,
) -> None:
    with pytest.raises(RayError, match=r"no Ray cluster at '127\.0\.0\.1:1': .*ray start --head"):
        RayPool(tiny_checkpoint, "127.0.0.1:1")
