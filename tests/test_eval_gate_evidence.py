"""What may not be judged or compared: missing, partial, foreign and broken evidence."""

from __future__ import annotations

from typing import Any

import pytest

from registry.evidence import Evidence, Item
from registry.records import digest_of
from registry.verdict import Finding, Status
from tests.gate_cases import BASELINE, CANDIDATE, HALF, entry, evidence, items, only, verdict

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
    assert found.of_no_entry == found.reasons[:1]
    assert found.reasons[1:] == (only(found).as_reason,)


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


@pytest.mark.parametrize(("field", "value"), [("backend", "vllm"), ("context_length", 1024)])
def test_bits_per_byte_of_another_backend_or_context_are_not_compared(
    field: str, value: object
) -> None:
    # Trap 11: lm-eval's rolling perplexity of one text is 5.030 by one backend, 5.041 by another.
    documents = tuple(
        Item(key=f"d{n}", content_hash=f"h{n}", value=300.0 + n % 7, weight=100.0, cluster=f"d{n}")
        for n in range(1200)
    )
    bits = entry("bits_per_byte", margin=0.5)

    def found(**facts: Any) -> Finding:
        return only(
            verdict(bits, evidence(documents, CANDIDATE, **facts), evidence(documents, BASELINE))
        )

    assert found().status == "PASS"
    assert found(**{field: value}).status == "INVALID"
    assert str(value) in found(**{field: value}).reason
