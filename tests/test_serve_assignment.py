"""Assignment: sticky by unit, by the weights, pinned by name or digest."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from monitoring.experiments import srm_pvalue
from serve.assignment import Assigner, position, unit_of
from serve.errors import ApiError
from serve.settings import ServingPlan, VariantPlan

CHECKPOINTS = {"a": "sha256:" + "aa" * 32, "b": "sha256:" + "bb" * 32}


def assigner(*weights: float, salt: str = "spring", seed: int = 0) -> Assigner:
    variants = tuple(
        VariantPlan(name=name, checkpoint=Path(name), weight=weight)
        for name, weight in zip("ab", weights, strict=True)
    )
    plan = ServingPlan(model_name="support", experiment="spring", salt=salt, variants=variants)
    return Assigner(plan, CHECKPOINTS, random.Random(seed))


def test_the_place_of_a_unit_is_the_first_eight_bytes_of_sha256_over_salt_and_unit():
    first_eight = hashlib.sha256(b"spring:user-1").digest()[:8]
    assert position("spring", "user-1") == pytest.approx(
        int.from_bytes(first_eight, "big") / 2**64, abs=1e-15
    )


def test_a_unit_keeps_its_variant_and_another_salt_deals_anew():
    one, again, other = assigner(1, 1), assigner(1, 1, seed=9), assigner(1, 1, salt="autumn")
    units = [{"user": f"u{number}"} for number in range(200)]
    variants = [one.assign("support", unit, None).variant for unit in units]
    assert variants == [again.assign("support", unit, None).variant for unit in units]
    moved = [other.assign("support", unit, None).variant for unit in units]
    assert 60 < sum(a != b for a, b in zip(variants, moved, strict=True)) < 140


def test_units_are_split_by_the_weights():
    split = assigner(3, 1)
    counts = {"a": 0, "b": 0}
    for number in range(4000):
        counts[split.assign("support", {"user": f"u{number}"}, None).variant] += 1
    assert srm_pvalue(counts, {"a": 3, "b": 1}) > 0.001


def test_more_weight_for_one_variant_moves_no_unit_away_from_it():
    before, after = assigner(1, 1), assigner(3, 1)
    for number in range(500):
        unit = {"user": f"u{number}"}
        if before.assign("support", unit, None).variant == "a":
            assert after.assign("support", unit, None).variant == "a"


def test_a_variant_of_weight_zero_gets_only_pinned_requests():
    split = assigner(1, 0)
    drawn = {split.assign("support", {"user": str(number)}, None).variant for number in range(99)}
    assert drawn == {"a"}
    assert split.assign("support@b", {}, None).variant == "b"


def test_the_unit_comes_from_the_header_then_the_body_then_the_conversation():
    body = {"safety_identifier": "s", "user": "u", "metadata": {"conversation_id": "c"}}
    assert unit_of(body, b"h") == "h"
    assert unit_of(body, None) == "s"
    del body["safety_identifier"]
    assert unit_of(body, b"") == "u"
    assert unit_of({"user": "", "metadata": {"conversation_id": "c"}}, None) == "c"
    assert unit_of({"user": 7, "metadata": ["c"]}, None) is None


def test_without_a_unit_the_draw_is_random_and_the_request_is_excluded():
    split = assigner(1, 1)
    assignments = [split.assign("support", {}, None) for _ in range(100)]
    assert {assignment.variant for assignment in assignments} == {"a", "b"}
    assert {assignment.unit_digest for assignment in assignments} == {None}


def test_the_unit_itself_is_not_in_the_assignment():
    assignment = assigner(1, 1).assign("support", {"user": "jane@example.org"}, None)
    assert assignment.unit_digest == (
        "sha256:" + hashlib.sha256(b"spring:jane@example.org").hexdigest()
    )


@pytest.mark.parametrize("pin", ["b", CHECKPOINTS["b"], CHECKPOINTS["b"][:15]])
def test_a_name_or_a_digest_pins_a_variant_outside_the_experiment(pin):
    assignment = assigner(1, 1).assign(f"support@{pin}", {"user": "u"}, b"h")
    assert (assignment.variant, assignment.pinned, assignment.unit_digest) == ("b", True, None)


@pytest.mark.parametrize(
    "model", ["other", "support@c", "support@sha256:bb", "other@a", "support@", ""]
)
def test_an_unknown_model_is_404_and_lists_what_there_is(model):
    with pytest.raises(ApiError) as caught:
        assigner(1, 1).assign(model, {}, None)
    assert caught.value.status == 404
    assert "have support, support@a, support@b" in caught.value.message


def test_a_request_without_a_model_is_400():
    with pytest.raises(ApiError) as caught:
        assigner(1, 1).assign(None, {}, None)
    assert (caught.value.status, caught.value.param) == (400, "model")


def test_a_unit_that_no_utf8_can_hold_is_still_assigned():
    assert assigner(1, 1).assign("support", {"user": "\ud800"}, None).unit_digest
