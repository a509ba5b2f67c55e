"""Assignment: sticky by unit, by the weights, pinned by name or digest."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from monitoring.experiments import srm_pvalue
from serve.assignment import Assigner, Assignment, position, unit_of
from serve.errors import ApiError
from serve.experiment_files import parse_design
from serve.experiment_state import ExperimentState
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


def declared(state: ExperimentState | None = None, **changes: object) -> Assigner:
    """Variants a (control), b, and c where ``changes`` declare it; running unless said."""
    variants = [{"name": "a", "checkpoint": "a"}, {"name": "b", "checkpoint": "b"}]
    design = parse_design({"name": "spring", "variants": variants, **changes}, where="test")
    plan = ServingPlan(
        model_name="support",
        experiment="spring",
        salt=design.salted,
        variants=tuple(
            VariantPlan(
                name=one.name,
                checkpoint=Path(one.name),
                weight=0 if one.shadow is not None else one.weight,
            )
            for one in design.variants
        ),
        design=design,
    )
    made = Assigner(plan, CHECKPOINTS, random.Random(0))
    made.apply(state or ExperimentState(run=1, running=True))
    return made


def all_of(split: Assigner, num_units: int = 600) -> list[Assignment]:
    return [split.assign("support", {"user": f"u{n}"}, None) for n in range(num_units)]


def test_a_declared_experiment_splits_as_an_undeclared_one_of_the_same_salt():
    one = [each.variant for each in all_of(declared())]
    assert one == [each.variant for each in all_of(assigner(1, 1))]


def test_a_unit_in_the_experiment_has_the_propensity_of_its_variant():
    variants = [{"name": "a", "checkpoint": "a", "weight": 3}, {"name": "b", "checkpoint": "b"}]
    chances = {one.variant: one.propensity for one in all_of(declared(variants=variants))}
    assert chances == {"a": 0.75, "b": 0.25}


def test_before_its_first_start_the_control_answers_and_nobody_counts():
    found = all_of(declared(ExperimentState()))
    assert {(one.variant, one.excluded, one.propensity) for one in found} == {
        ("a", "stopped", None)
    }


def test_a_rising_ramp_adds_units_and_moves_none():
    small = all_of(declared(ExperimentState(running=True, share=0.2)))
    large = all_of(declared(ExperimentState(running=True, share=0.6)))
    inside = [n for n, one in enumerate(small) if one.excluded is None]
    assert 80 < len(inside) < 160
    assert all(large[n] == small[n] for n in inside)
    assert {one.variant for one in small if one.excluded == "ramp"} == {"a"}
    assert 290 < sum(one.excluded is None for one in large) < 430


def test_the_ramp_is_independent_of_the_split():
    inside = [
        one.variant
        for one in all_of(declared(ExperimentState(running=True, share=0.5)), 4000)
        if one.excluded is None
    ]
    counts = {name: inside.count(name) for name in "ab"}
    assert srm_pvalue(counts, {"a": 1, "b": 1}) > 0.001


def test_held_out_units_meet_the_control_in_every_experiment():
    spring = declared(holdout={"share": 0.2})
    autumn = declared(holdout={"share": 0.2}, salt="autumn")
    held = [one.excluded == "holdout" for one in all_of(spring)]
    assert held == [one.excluded == "holdout" for one in all_of(autumn)]
    assert 80 < sum(held) < 160
    assert {one.variant for one in all_of(spring) if one.excluded == "holdout"} == {"a"}


@pytest.mark.parametrize("why", ["breach", "pause", "stop"])
def test_who_is_switched_off_leaves_its_units_to_the_control_and_nobody_else_moves(why):
    whole = all_of(declared())
    found = all_of(declared(ExperimentState(running=True, off={"b": why})))
    for before, now in zip(whole, found, strict=True):
        if before.variant == "b":
            assert (now.variant, now.excluded) == ("a", "stopped")
        else:
            assert now == before


def test_shares_say_what_each_variant_gets_now():
    assert declared().shares == {"a": 0.5, "b": 0.5}
    ramped = declared(ExperimentState(running=True, share=0.2), holdout={"share": 0.5})
    assert ramped.shares == pytest.approx({"a": 0.95, "b": 0.05})
    assert declared(ExperimentState(running=True, off={"b": "breach"})).shares == {"a": 1, "b": 0}
    assert declared(ExperimentState()).shares == {"a": 1, "b": 0}


def test_a_bandit_s_weights_replace_the_planned_ones():
    split = declared(ExperimentState(running=True, weights={"a": 0.1, "b": 0.9}))
    found = all_of(split)
    assert {one.variant: one.propensity for one in found} == pytest.approx({"a": 0.1, "b": 0.9})
    assert sum(one.variant == "b" for one in found) > 500


def test_an_experiment_on_users_refuses_a_request_that_names_none():
    split = declared(without_unit="reject")
    with pytest.raises(ApiError) as caught:
        split.assign("support", {"metadata": {"conversation_id": "c"}}, None)
    assert (caught.value.status, caught.value.code) == (400, "missing_unit")
    assert caught.value.message == (
        "experiment spring assigns by user and the request names none; send the header "
        "x-hallmark-unit or safety_identifier or user"
    )
    assert split.assign("support", {}, b"ann").unit_digest is not None
    assert split.assign("support@b", {}, None).variant == "b"


def test_an_experiment_on_conversations_takes_no_user_for_one():
    split = declared(unit="conversation", without_unit="reject")
    with pytest.raises(ApiError, match=r"metadata\.conversation_id"):
        split.assign("support", {"user": "ann"}, None)
    body = {"user": "ann", "metadata": {"conversation_id": "c1"}}
    assert split.assign("support", body, None).unit_digest == (
        "sha256:" + hashlib.sha256(b"spring:c1").hexdigest()
    )


def test_a_request_without_a_unit_is_drawn_and_excluded_where_that_is_the_policy():
    found = [declared().assign("support", {}, None) for _ in range(3)]
    assert {(one.unit_digest, one.excluded, one.propensity) for one in found} == {
        (None, "no-unit", None)
    }


def test_segments_are_the_declared_ones_and_other():
    split = declared(segments={"plan": ["free", "paid"], "language": ["en"]})
    body = {"user": "ann", "metadata": {"plan": "paid", "language": "xx", "secret": "s"}}
    assert split.assign("support", body, None).segments == {"plan": "paid", "language": "other"}
    assert split.assign("support", {"user": "ann"}, None).segments == {
        "plan": "other",
        "language": "other",
    }


def test_a_shadow_answers_nobody_and_gets_a_sticky_sample():
    variants = [
        {"name": "a", "checkpoint": "a"},
        {"name": "b", "checkpoint": "b"},
        {"name": "c", "checkpoint": "c", "shadow": 0.3},
    ]
    split = declared(variants=variants)
    found = all_of(split)
    assert {one.variant for one in found} == {"a", "b"}
    shadowed = [one.shadows == ("c",) for one in found]
    assert shadowed == [one.shadows == ("c",) for one in all_of(declared(variants=variants))]
    assert 130 < sum(shadowed) < 230
    off = declared(ExperimentState(running=True, off={"c": "stop"}), variants=variants)
    assert {one.shadows for one in all_of(off)} == {()}
