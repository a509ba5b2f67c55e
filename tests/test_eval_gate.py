"""The judge: what passes, what fails, what nobody can say, and who decides over all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.checks import Kind
from eval.stats import smallest_margin
from registry.verdict import Status
from tests.gate_cases import (
    BASELINE,
    CANDIDATE,
    HALF,
    NOW,
    entry,
    evidence,
    items,
    only,
    policy,
    verdict,
)

# Verdicts of the paired rule


def test_an_equal_candidate_passes_with_the_interval_of_its_item_count() -> None:
    found = verdict(entry(), HALF, HALF)
    finding = only(found)
    assert found.status is Status.PASS
    assert found.exit_code == 0
    assert finding.estimate == 0
    assert finding.low == pytest.approx(-smallest_margin(200))
    assert (finding.candidate, finding.baseline, finding.n) == (0.5, 0.5, 200)
    assert found.reasons == ()


def test_a_clearly_worse_candidate_fails() -> None:
    found = verdict(entry(), [0.0] * 100 + HALF[100:], HALF)
    assert found.status is Status.FAIL
    assert found.exit_code == 1
    assert only(found).estimate == -0.25
    assert found.reasons[0].startswith("check: FAIL: [-0.3")


@pytest.mark.parametrize(("n", "status"), [(19, Status.INCONCLUSIVE), (20, Status.FAIL)])
def test_fewer_pairs_than_tango_is_trusted_with_decide_nothing(n: int, status: Status) -> None:
    found = only(verdict(entry(margin=0.1), [0.0] * n, [1.0] * n))
    assert found.status is status
    assert ("19 pairs; 20 are the least" in found.reason) == (n == 19)


def test_not_significant_is_not_a_pass() -> None:
    # 3 lost of 50, exact McNemar p = .25: "no significant drop" would pass it
    worse = [0.0] * 3 + [1.0] * 47
    found = verdict(entry(margin=0.05), worse, [1.0] * 50)
    assert found.status is Status.INCONCLUSIVE
    assert found.exit_code == 2


def test_tango_decides_with_the_published_interval() -> None:
    # contingencytables chapter 8: 59 both, 6 only candidate, 16 only baseline, 80 neither
    candidate = [1.0] * 59 + [1.0] * 6 + [0.0] * 16 + [0.0] * 80
    baseline = [1.0] * 59 + [0.0] * 6 + [1.0] * 16 + [0.0] * 80
    for margin, status in ((0.13, Status.PASS), (0.12, Status.INCONCLUSIVE), (0.004, Status.FAIL)):
        finding = only(verdict(entry(margin=margin), candidate, baseline))
        assert finding.status is status
        assert finding.low == pytest.approx(-0.124023, abs=5e-7)
        # Tango's -.005433 would lie below the truth too often by a hair at this discordance.
        assert finding.high == pytest.approx(-0.005, abs=5e-5)


# Unscored and too few items


def test_more_unscored_items_than_allowed_are_invalid() -> None:
    found = verdict(entry(max_unscored=1), [None, None, *HALF], [1.0, 1.0, *HALF])
    assert found.status is Status.INVALID
    assert only(found).reason == "2 of 202 items unscored, 1 allowed; first: item-0: no answer"


def test_an_item_unscored_on_one_side_counts_against_the_candidate() -> None:
    for candidate, baseline in (([None], [1.0]), ([0.0], [None])):
        finding = only(verdict(entry(max_unscored=1), [*candidate, *HALF], [*baseline, *HALF]))
        assert finding.unscored == 1
        assert finding.estimate == pytest.approx(-1 / 201)


def test_an_item_unscored_on_both_sides_says_nothing_of_the_difference() -> None:
    finding = only(verdict(entry(max_unscored=2), [None, *HALF], [None, *HALF]))
    assert finding.unscored == 1
    assert finding.low == pytest.approx(-smallest_margin(200))
    assert finding.candidate == pytest.approx(100 / 201)  # its own value still counts it


def test_unscored_items_of_the_baseline_count_too() -> None:
    found = verdict(entry(), HALF, [None, *HALF[1:]])
    assert only(found).reason.startswith("1 of 200 items unscored, 0 allowed")


def test_nothing_scored_is_invalid() -> None:
    found = verdict(entry(max_unscored=9), [None] * 5, [1.0] * 5)
    assert only(found).reason == "no item has a value"


def test_fewer_items_than_the_policy_asks_for_are_inconclusive() -> None:
    found = verdict(entry(min_items=201), HALF, HALF)
    assert found.status is Status.INCONCLUSIVE
    assert only(found).reason == "200 scored items, the policy asks for 201"


@pytest.mark.parametrize("kind", ["binary", "numeric", "bits_per_byte", "rare_harm"])
def test_a_single_item_never_passes(kind: Kind) -> None:
    one = items([1.0], weight=8.0)
    found = verdict(entry(kind), evidence(one, CANDIDATE), evidence(one, BASELINE))
    assert found.status is Status.INCONCLUSIVE


# Limits and first checkpoints


def test_without_a_champion_limits_alone_decide() -> None:
    margin_only = entry(name="margin")
    limited = entry(name="check", margin=0.1, limit={"min": 0.4})
    both = {"check": evidence(HALF, CANDIDATE), "margin": evidence(HALF, CANDIDATE, check="margin")}
    found = verdict(policy(limited, margin_only), both)
    assert found.status is Status.PASS
    judged, left = found.findings
    assert judged.reason.startswith("own value [0.4287, 0.5713] reaches at least 0.4")
    assert left.tier == "advisory"
    assert left.status is Status.INCONCLUSIVE
    assert left.reason == "not judged: no champion to compare with"
    assert found.baseline_digest is None


def test_without_a_champion_a_policy_of_margins_alone_is_invalid() -> None:
    found = verdict(entry(), HALF)
    assert found.status is Status.INVALID
    assert "no required entry with a limit" in found.reasons[0]


def test_an_advisory_limit_does_not_make_a_first_checkpoint_judgeable() -> None:
    found = verdict(
        policy(entry(), entry(name="soft", tier="advisory", limit={"min": 0.1})),
        {"check": evidence(HALF, CANDIDATE), "soft": evidence(HALF, CANDIDATE, check="soft")},
    )
    assert found.status is Status.INVALID


def test_a_policy_without_required_entries_is_invalid() -> None:
    found = verdict(entry(tier="advisory"), HALF, HALF)
    assert found.status is Status.INVALID
    assert found.reasons == ("policy test has no required entry: nothing would be decided",)


@pytest.mark.parametrize(
    ("right", "status"),
    [(90, Status.PASS), (75, Status.INCONCLUSIVE), (50, Status.FAIL)],
)
def test_a_minimum_is_judged_by_the_interval(right: int, status: Status) -> None:
    # Clopper-Pearson 95%: 90 -> [.824, .951], 75 -> [.653, .831], 50 -> [.398, .602]
    values = [1.0] * right + [0.0] * (100 - right)
    assert verdict(entry(limit={"min": 0.7}), values).status is status


@pytest.mark.parametrize(
    ("harms", "status"), [(0, Status.PASS), (4, Status.INCONCLUSIVE), (30, Status.FAIL)]
)
def test_a_harm_budget_is_judged_by_its_upper_bound(harms: int, status: Status) -> None:
    # Clopper-Pearson 95% upper of 300: none .0122; four .0338
    values = [1.0] * harms + [0.0] * (300 - harms)
    finding = only(verdict(entry("rare_harm", limit={"max": 0.03}), values))
    assert finding.status is status
    if harms == 0:
        assert finding.limit_high == pytest.approx(0.0122, abs=5e-5)


def test_more_harm_is_a_loss_and_less_harm_a_gain() -> None:
    calm, harsh = [0.0] * 300, [1.0] * 60 + [0.0] * 240
    assert verdict(entry("rare_harm", margin=0.03), harsh, calm).status is Status.FAIL
    better = verdict(entry("rare_harm", margin=0.03), calm, harsh)
    assert better.status is Status.PASS
    assert only(better).estimate == 0.2


def test_margin_and_limit_must_both_hold() -> None:
    low = verdict(entry(margin=0.1, limit={"min": 0.7}), HALF, HALF)
    assert low.status is Status.FAIL
    assert "lies above -0.1; own value" in only(low).reason


# The verdict over all


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("PASS FAIL INCONCLUSIVE INVALID", Status.INVALID),
        ("PASS FAIL INCONCLUSIVE", Status.FAIL),
        ("PASS INCONCLUSIVE", Status.INCONCLUSIVE),
        ("PASS PASS", Status.PASS),
    ],
)
def test_the_verdict_is_the_worst_required_finding(statuses: str, expected: Status) -> None:
    sides = {
        "PASS": (HALF, HALF),
        "FAIL": ([0.0] * 200, HALF),
        "INCONCLUSIVE": (HALF[:20], HALF[:20]),
        "INVALID": (HALF[:20], HALF),
    }
    entries, ours, theirs = [], {}, {}
    for index, status in enumerate(statuses.split()):
        name = f"e{index}"
        entries.append(entry(name=name))
        ours[name] = evidence(sides[status][0], CANDIDATE, check=name)
        theirs[name] = evidence(sides[status][1], BASELINE, check=name)
    found = verdict(policy(*entries), ours, theirs)
    assert [f.status for f in found.findings] == statuses.split()
    assert found.status is expected


def test_advisory_and_watched_entries_never_change_the_verdict() -> None:
    soft = entry(name="soft", tier="advisory")
    seen = entry(name="seen", tier="watch", margin=None)
    ours = {"check": evidence(HALF, CANDIDATE)}
    ours["soft"] = evidence([0.0] * 200, CANDIDATE, check="soft")
    ours["seen"] = evidence([0.0] * 200, CANDIDATE, check="seen")
    theirs = {name: evidence(HALF, BASELINE, check=name) for name in ("check", "soft", "seen")}
    found = verdict(policy(entry(), soft, seen), ours, theirs)
    assert found.status is Status.PASS
    assert found.findings[1].status is Status.FAIL
    assert found.findings[2].reason == "not judged: watched only"
    assert found.findings[2].estimate == -0.5


def test_the_verdict_names_the_evidence_it_rests_on() -> None:
    found = verdict(entry(), HALF, HALF)
    assert found.evidence_digests == {
        "candidate/check": evidence(HALF, CANDIDATE).digest,
        "baseline/check": evidence(HALF, BASELINE).digest,
    }
    assert found.policy_digest == policy(entry()).digest
    assert found.created_at == NOW


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.randoms())
def test_the_order_of_items_is_irrelevant(pairs: list[tuple[bool, bool]], random: Any) -> None:
    ours, theirs = (items([float(p[side]) for p in pairs]) for side in (0, 1))
    shuffled = list(ours)
    random.shuffle(shuffled)
    first = only(verdict(entry(), evidence(ours, CANDIDATE), evidence(theirs, BASELINE)))
    second = only(
        verdict(entry(), evidence(tuple(shuffled), CANDIDATE), evidence(theirs, BASELINE))
    )
    assert first == second


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["binary", "numeric"]),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=6, max_size=60),
)
def test_swapping_sides_mirrors_the_interval(kind: Kind, pairs: list[tuple[int, int]]) -> None:
    ours, theirs = ([float(p[side]) for p in pairs] for side in (0, 1))
    there = only(verdict(entry(kind), ours, theirs))
    back = only(verdict(entry(kind), theirs, ours))
    assert there.estimate == pytest.approx(-(back.estimate or 0))
    assert there.low == pytest.approx(-(back.high or 0), abs=1e-9)
