"""The judge on numbers: scores, clusters, bits per byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from registry.evidence import Item
from registry.verdict import Finding, Status
from tests.gate_cases import BASELINE, CANDIDATE, HALF, entry, evidence, items, only, verdict

# Numeric checks


def rng_values(seed: int, n: int, mean: float) -> list[float]:
    draws = np.random.default_rng(seed).normal(mean, 0.05, n)
    return [float(v) for v in draws.clip(0, 1)]


def test_numeric_items_are_compared_by_a_t_interval() -> None:
    candidate, baseline = rng_values(0, 60, 0.6), rng_values(1, 60, 0.6)
    finding = only(verdict(entry("numeric", margin=0.05), candidate, baseline))
    assert finding.status is Status.PASS
    assert finding.method == "t interval, 95%"
    worse = verdict(entry("numeric", margin=0.05), rng_values(0, 60, 0.3), baseline)
    assert worse.status is Status.FAIL


def test_under_ten_items_numeric_checks_flip_signs() -> None:
    # statistics.md part A, d with mean .06125
    base = [0.5] * 8
    d = [0.12, -0.05, 0.30, 0.02, -0.11, 0.08, 0.15, -0.02]
    candidate = [round(b + x, 2) for b, x in zip(base, d, strict=True)]
    finding = only(verdict(entry("numeric", margin=0.05), candidate, base))
    assert finding.estimate == pytest.approx(0.06125)
    assert finding.method == "sign-flip interval, 95%, 8 groups"
    assert finding.status is Status.PASS


def test_a_loss_of_exactly_the_margin_is_not_a_pass() -> None:
    # .85 to .80 six times: in floats the mean loss is below .05, exactly it is .05
    finding = only(verdict(entry("numeric", margin=0.05), [0.8] * 6, [0.85] * 6))
    assert finding.estimate == finding.low == -0.05
    assert finding.status is Status.INCONCLUSIVE


def test_identical_numeric_answers_still_have_a_width() -> None:
    same = rng_values(0, 100, 0.5)
    finding = only(verdict(entry("numeric", margin=0.02), same, same))
    assert finding.status is Status.INCONCLUSIVE
    assert finding.low == pytest.approx(-(1 - 0.025 ** (1 / 100)))
    assert "only 0 of 100 differ" in finding.method


def test_items_that_share_clusters_are_judged_by_cluster() -> None:
    # one cluster of ten lost everything: few items, one event
    clusters = [f"c{i // 10}" for i in range(200)]
    base = items([1.0] * 200, cluster=clusters)
    lost = items([0.0] * 10 + [1.0] * 190, cluster=clusters)
    alone = only(verdict(entry(margin=0.1), [0.0] * 10 + [1.0] * 190, [1.0] * 200))
    finding = only(verdict(entry(margin=0.1), evidence(lost, CANDIDATE), evidence(base, BASELINE)))
    assert alone.status is Status.PASS
    assert finding.status is Status.INCONCLUSIVE
    assert "cluster-t (CR1) interval, 95%, 20 clusters" in finding.method


def test_one_cluster_of_everything_is_inconclusive() -> None:
    shared = items(HALF, cluster="one")
    finding = only(
        verdict(entry(margin=0.9), evidence(shared, CANDIDATE), evidence(shared, BASELINE))
    )
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason.startswith("1 independent groups of items; 6 are the least")


# Bits per byte


def documents(seed: int, n: int, rate: float) -> tuple[Item, ...]:
    """Documents of fixed sizes that cost ``rate`` bits per byte, a little more or less each."""
    sizes = np.random.default_rng(99).integers(100, 900, n)
    noise = np.random.default_rng(seed).normal(0, 0.05, n)
    values = [float(s * (rate + e)) for s, e in zip(sizes, noise, strict=True)]
    return items(values, weight=[float(s) for s in sizes])


def bits(candidate: tuple[Item, ...], baseline: tuple[Item, ...], **rule: Any) -> Finding:
    one = entry("bits_per_byte", **({"margin": 0.05} | rule))
    return only(verdict(one, evidence(candidate, CANDIDATE), evidence(baseline, BASELINE)))


def test_bits_per_byte_are_compared_as_a_ratio_over_documents() -> None:
    ours, theirs = documents(1, 200, 1.5), documents(2, 200, 1.5)
    finding = bits(ours, theirs)
    total = sum(i.weight or 0 for i in ours)
    assert finding.status is Status.PASS
    assert finding.candidate == pytest.approx(sum(i.value or 0 for i in ours) / total)
    assert finding.method == "delete-one jackknife, 97.5%, 200 documents, widened below 1,000"
    assert bits(documents(1, 200, 1.7), theirs).status is Status.FAIL
    assert bits(documents(1, 200, 1.3), theirs).estimate == pytest.approx(0.2, abs=0.02)


def test_a_thousand_documents_need_no_widening() -> None:
    finding = bits(documents(1, 1000, 1.5), documents(2, 1000, 1.5))
    assert finding.method == "delete-one jackknife, 95%, 1000 documents"


def test_a_handful_of_documents_is_inconclusive() -> None:
    finding = bits(documents(1, 29, 1.5), documents(2, 29, 1.5))
    assert finding.status is Status.INCONCLUSIVE
    assert finding.low is None
    assert finding.reason.startswith("29 documents; the jackknife needs 30")


def test_chunks_are_put_together_by_document_first() -> None:
    chunks = [f"d{i // 10}" for i in range(300)]
    sides = [
        tuple(i.model_copy(update={"cluster": c}) for i, c in zip(docs, chunks, strict=True))
        for docs in (documents(1, 300, 1.5), documents(2, 300, 1.5))
    ]
    assert "30 documents" in bits(*sides).method


def test_items_without_bytes_are_invalid() -> None:
    bare = items([5.0] * 40)
    assert bits(bare, bare).reason == "candidate item 'item-0' has no number of bytes"


def test_differing_bytes_of_one_document_are_invalid() -> None:
    ours = documents(1, 40, 1.5)
    other = (ours[0].model_copy(update={"weight": 1.0}), *ours[1:])
    assert bits(ours, other).reason.startswith("item 'item-0' has another cluster or weight")
