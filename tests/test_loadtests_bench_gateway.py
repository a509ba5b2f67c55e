"""The gateway's benchmark: its arithmetic by hand, and its parts against each other, briefly."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests import bench_gateway, bench_sides, bench_table, mock_upstream, soak
from loadtests.bench_table import Measured, Results, Spread, Target, targets
from tests import gateway_over_mock

ROOT = Path(__file__).resolve().parent.parent


def measured(side: str, repeat: int, rate: float, p50_ms: float = 1.0, **more: object) -> Measured:
    fields = {"kind": "json", "connections": 32, "p99_ms": 2.0, "first_p50_ms": 1.0} | more
    return Measured(side=side, repeat=repeat, rate=rate, p50_ms=p50_ms, **fields)


def test_a_ratio_is_formed_within_a_repeat_and_shown_with_its_spread():
    results = Results(
        [
            measured("hallmark", 0, 600), measured("relay", 0, 1000),
            measured("hallmark", 1, 300), measured("relay", 1, 400),
            measured("hallmark", 2, 500), measured("relay", 2, 1000),
            measured("hallmark", 3, 500),
        ]
    )  # fmt: skip
    found = results.ratio("hallmark", "relay", "json", 32)
    assert found == Spread(0.6, 0.5, 0.75)
    assert results.ratio("hallmark", "litellm", "json", 32) is None


def test_added_time_is_the_difference_to_the_mock_of_the_same_repeat():
    results = Results([measured("hallmark", 0, 1, 1.5), measured("mock", 0, 1, 1.25)])
    assert results.added("hallmark", "mock", "json", 32, "p50_ms") == Spread(0.25, 0.25, 0.25)
    missing = Results([measured("hallmark", 0, 1, 1.5), measured("mock", 0, 1, None)])
    assert missing.added("hallmark", "mock", "json", 32, "p50_ms") is None


def test_the_table_shows_what_each_side_adds_to_the_mock_of_the_same_repeat():
    results = Results(
        [
            measured("mock", 0, 1000, 1.25, p99_ms=3.0, first_p50_ms=0.25),
            measured("relay", 0, 500, 1.5, p99_ms=4.0, first_p50_ms=1.0),
        ]
    )
    head, _, mock, relay = bench_table.table(results, ["mock", "relay"], [32]).splitlines()
    assert [cell.strip() for cell in head.split("|")[6:9]] == [
        "added p50", "added p99", "added to first event, p50",
    ]  # fmt: skip
    assert mock == "| json, 32 | mock | 1,000 (1,000 to 1,000) | 1.25 | 3.00 | - | - | - | 2.00 |"
    assert relay.endswith("| 1.50 | 4.00 | +0.25 | +1.00 | +0.75 | 1.00 |")


@pytest.mark.parametrize(
    ("found", "at_most", "met"),
    [(0.5, True, True), (0.51, True, False), (0.5, False, True), (0.49, False, False)],
)
def test_a_target_is_met_by_the_median_at_its_limit(found, at_most, met):
    spread = Spread(found, 0.0, 9.0)
    assert Target("x", spread, 0.5, at_most=at_most).met is met


def test_what_was_not_measured_is_not_met():
    assert Target("x", None, 0.5).met is None
    assert all(row.met is None for row in targets(Results([])))
    assert "not measured" in bench_table.target_table(targets(Results([])))


def test_the_targets_are_the_issues():
    limits = {(row.name, row.limit, row.at_most) for row in targets(Results([]))}
    assert ("added p50 at 1 connection, ms (json)", 0.5, True) in limits
    assert ("times relay at 32 connections (json)", 0.5, False) in limits
    assert ("times fastapi at 32 connections (json)", 4.0, False) in limits
    assert ("times litellm at 32 connections (json)", 30.0, False) in limits
    assert ("the relay itself, times mock (json)", 0.5, False) in limits


def test_the_relay_is_bare():
    lines = (ROOT / "loadtests" / "bare_relay.py").read_text().splitlines()
    assert len(lines) <= 40


def test_the_benchmark_asks_with_the_gateways_key():
    assert bench_sides.API_KEY == gateway_over_mock.API_KEY


def test_the_mock_streams_a_hundred_events_with_content():
    assert sum(b'"content":" word' in chunk for chunk in mock_upstream.CHUNKS) == 100


def test_the_whole_benchmark_runs_and_every_side_answers(tmp_path, capsys):
    plan = bench_gateway.Plan(
        sides=("mock", "relay", "hallmark", "fastapi"),
        connections=(1, 32),
        seconds=0.2,
        repeats=1,
        memory_requests=300,
    )
    found = bench_gateway.bench(plan, tmp_path)
    assert {(m["side"], m["kind"], m["connections"]) for m in found["measured"]} == {
        (side, kind, number)
        for side in plan.sides
        for kind in ("json", "sse")
        for number in plan.connections
    }
    assert all(m["failures"] == 0 and m["rate"] > 0 for m in found["measured"])
    assert found["records"] > 300
    assert "| json, 32 | hallmark |" in capsys.readouterr().out


def test_a_short_soak_breaks_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "NUM_LINES", 3)
    monkeypatch.setattr(soak, "KEEP_EVERY", 5)
    monkeypatch.setattr(soak, "FLAT", 3.0)  # caches still fill in the first seconds
    seen, outcomes = soak.run(3 / 60, tmp_path)
    assert [one for one in outcomes if not one.holds] == []
    assert seen.wrong == []
    assert min(seen.counts[kind] for kind in ("chat", "stream", "hang up", "nonsense")) > 0


@pytest.mark.slow
def test_two_minutes_of_mixed_load_leak_lose_and_break_nothing(tmp_path):
    seen, outcomes = soak.run(2.0, tmp_path)
    assert [one for one in outcomes if not one.holds] == []
    assert seen.wrong == []
