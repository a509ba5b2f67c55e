"""The judge: what passes, what fails, what nobody can say, and what may not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from eval.checks import Check, Kind, Measured
from eval.gate import Entry, Policy, Rule, judge
from eval.policy import Written
from eval.stats import smallest_margin
from registry.evidence import Evidence, Item, ModelFacts
from registry.records import digest_of
from registry.verdict import Finding, Status, Verdict

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CANDIDATE, BASELINE = digest_of(b"candidate"), digest_of(b"baseline")
BOUNDS: dict[Kind, tuple[float | None, float | None]] = {
    "binary": (0, 1), "numeric": (0, 1), "bits_per_byte": (0, None), "rare_harm": (0, 1),
}  # fmt: skip


class NoSettings(BaseModel):
    """A check without a configuration."""


def entry(kind: Kind = "binary", *, name: str = "check", **rule: Any) -> Entry:
    row = Check(
        name=name,
        measure=lambda runner, config: Measured(()),
        config=NoSettings,
        kind=kind,
        higher_is_better=kind in {"binary", "numeric"},
        unit="share",
        bounds=BOUNDS[kind],
        zero="none",
        source="test",
    )
    body = {"tier": "required", "min_items": 1, "reason": "test", "owner": "test"} | rule
    if "margin" not in body and "limit" not in body:
        body["margin"] = 0.1
    return Entry(Rule(name=name, check=name, **body), row, NoSettings())


def policy(*entries: Entry) -> Policy:
    return Policy(Written(name="test", entries=tuple(e.rule for e in entries)), entries)


def items(values: Sequence[float | None], **more: Any) -> tuple[Item, ...]:
    """One item for each value; None is unscored. ``more`` gives a field for all, or by index."""
    made = []
    for index, value in enumerate(values):
        fields = {k: v[index] if isinstance(v, list) else v for k, v in more.items()}
        made.append(
            Item(
                key=f"item-{index}",
                content_hash=f"hash-{index}",
                value=value,
                unscored="no answer" if value is None else None,
                **fields,
            )
        )
    return tuple(made)


def evidence(
    values: Sequence[float | None] | tuple[Item, ...],
    weights: str,
    *,
    check: str = "check",
    **facts: Any,
) -> Evidence:
    made = tuple(v for v in values if isinstance(v, Item))
    made = made or items([v for v in values if not isinstance(v, Item)])
    described = {"backend": "torch", "dtype": "float32", "context_length": 512}
    described |= {"chat_template_digest": "sha256:template"}
    config = facts.pop("config_digest", "sha256:config")
    return Evidence(
        check=check,
        config={},
        config_digest=config,
        facts=ModelFacts(weights_digest=weights, **(described | facts)),
        items=made,
        seconds=1.0,
        created_at=NOW,
    )


def verdict(
    one: Policy | Entry,
    candidate: Any,
    baseline: Any = None,
    *,
    against: str = "champion",
    baseline_digest: str = BASELINE,
) -> Verdict:
    def named(side: Any, weights: str) -> Mapping[str, Evidence]:
        if isinstance(side, Evidence):
            return {"check": side}
        return side if isinstance(side, dict) else {"check": evidence(side, weights)}

    return judge(
        policy(one) if isinstance(one, Entry) else one,
        named(candidate, CANDIDATE),
        None if baseline is None else named(baseline, baseline_digest),
        candidate_digest=CANDIDATE,
        baseline_digest=None if baseline is None else baseline_digest,
        against=against,
        now=NOW,
    )


def only(found: Verdict) -> Finding:
    (finding,) = found.findings
    return finding


HALF = [1.0, 0.0] * 100  # 200 items, half of them right


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
    for margin, status in ((0.13, Status.PASS), (0.12, Status.INCONCLUSIVE), (0.005, Status.FAIL)):
        finding = only(verdict(entry(margin=margin), candidate, baseline))
        assert finding.status is status
        assert finding.low == pytest.approx(-0.124023, abs=5e-7)
        assert finding.high == pytest.approx(-0.005433, abs=5e-7)


# The failures of NVIDIA NeMo Evaluator's `nel gate`


def test_empty_results_are_invalid_and_never_go() -> None:
    found = verdict(entry(), evidence((), CANDIDATE), evidence((), BASELINE))
    assert found.status is Status.INVALID
    assert found.exit_code == 3
    assert only(found).reason == "candidate evidence holds no item"


def test_no_evidence_at_all_is_invalid() -> None:
    found = verdict(entry(), {}, {})
    assert found.status is Status.INVALID
    assert only(found).reason == "no candidate evidence for check: run the measurement again"


def test_ten_of_a_hundred_items_are_invalid() -> None:
    found = verdict(entry(), [1.0] * 10, [1.0] * 100)
    assert found.status is Status.INVALID
    assert only(found).reason == "different items: candidate 10, baseline 100, 10 in common"


def test_zero_discordant_pairs_do_not_certify_what_the_item_count_cannot() -> None:
    # z^2 / (n + z^2) is .0370 at 100 items
    for margin, status in ((0.036, Status.INCONCLUSIVE), (0.038, Status.PASS)):
        assert verdict(entry(margin=margin), [1.0] * 100, [1.0] * 100).status is status


def test_zero_discordant_pairs_at_margin_zero_are_inconclusive() -> None:
    assert verdict(entry(margin=0), HALF, HALF).status is Status.INCONCLUSIVE


# What may not be compared


def test_a_checkpoint_against_itself_is_invalid() -> None:
    found = verdict(entry(), HALF, {"check": evidence(HALF, CANDIDATE)}, baseline_digest=CANDIDATE)
    assert found.status is Status.INVALID
    assert "are the same weights" in found.reasons[0]
    assert only(found).status is Status.INVALID


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backend", "vllm"),
        ("dtype", "bfloat16"),
        ("context_length", 256),
        ("chat_template_digest", "sha256:other"),
    ],
)
def test_differing_ways_of_measuring_are_invalid(field: str, value: object) -> None:
    found = verdict(entry(), HALF, evidence(HALF, BASELINE, **{field: value}))
    assert found.status is Status.INVALID
    assert only(found).reason.startswith(f"{field} differs: candidate ")


def test_differing_configurations_are_invalid() -> None:
    found = verdict(entry(), HALF, evidence(HALF, BASELINE, config_digest="sha256:other"))
    assert only(found).reason.startswith("measured under different configurations or files")


def test_the_same_key_with_other_content_is_invalid() -> None:
    changed = list(items(HALF))
    changed[7] = changed[7].model_copy(update={"content_hash": "changed"})
    found = verdict(entry(), HALF, evidence(tuple(changed), BASELINE))
    assert found.status is Status.INVALID
    assert only(found).reason == "item 'item-7' has different content on both sides"


def test_repeated_keys_are_invalid() -> None:
    doubled = (*items(HALF), items([1.0])[0])
    found = verdict(entry(), evidence(doubled, CANDIDATE), evidence(doubled, BASELINE))
    assert only(found).reason == "candidate evidence repeats item keys: 201 items, 200 keys"


def test_evidence_of_other_weights_or_another_check_is_invalid() -> None:
    other = verdict(entry(), evidence(HALF, digest_of(b"third")), HALF)
    assert only(other).reason.startswith("candidate evidence is of weights ")
    check = verdict(entry(), evidence(HALF, CANDIDATE, check="else"), HALF)
    assert only(check).reason == "candidate evidence is of check else, the policy asks for check"


def test_nan_cannot_be_stored_and_a_smuggled_one_is_invalid() -> None:
    with pytest.raises(ValueError):
        items([float("nan")])
    smuggled = [*items(HALF[1:]), items(HALF)[-1].model_copy(update={"value": float("nan")})]
    body = evidence(HALF, CANDIDATE).model_copy(update={"items": tuple(smuggled)})
    found = judge_without_digests(body)
    assert found.status is Status.INVALID
    assert found.reason.endswith("is not a finite number")


def judge_without_digests(body: Evidence) -> Finding:
    """The finding alone: NaN has no canonical JSON, so no digest and no verdict either."""
    from eval.gate import _finding

    return _finding(
        entry(),
        body,
        None,
        candidate_digest=CANDIDATE,
        baseline_digest=None,
        has_baseline=False,
        against="champion",
    )


def test_values_that_the_check_cannot_give_are_invalid() -> None:
    found = verdict(entry(), [0.5, *HALF], [1.0, *HALF])
    assert only(found).reason == "candidate item 'item-0' is 0.5, check gives 0 or 1"
    numeric = verdict(entry("numeric"), [1.5, *HALF], [1.0, *HALF])
    assert only(numeric).reason == "candidate item 'item-0' is 1.5, outside check's range"


def test_a_missing_baseline_measurement_is_invalid() -> None:
    found = verdict(entry(), HALF, {})
    assert found.status is Status.INVALID
    assert only(found).reason.startswith("no baseline evidence for check")


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
