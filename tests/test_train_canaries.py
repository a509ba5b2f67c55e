"""Canaries: drawn from a seed, of a known space, planted as often as the plan says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from registry.canaries import Canary
from registry.ledger import Ledger
from registry.records import digest_of
from train.canaries import FORMATS, CanaryPlan, draw, planted, spread
from train.privacy import mask
from train.recipe import load_recipe, recipe_names

PLAN = CanaryPlan(insertions=(1, 5), per_group=6, controls=3, seed=7)


def test_a_plan_draws_so_many_canaries_of_each_count_and_controls_last():
    counts = [canary.insertions for canary in draw(PLAN)]
    assert counts == [1] * 6 + [5] * 6 + [0] * 3


def test_each_customer_has_one_canary_and_the_kinds_take_turns():
    canaries = draw(PLAN)
    assert len({canary.holder for canary in canaries}) == 15
    assert Counter(canary.kind for canary in canaries) == {"code": 5, "phone": 5, "address": 5}


def test_the_same_seed_draws_the_same_and_another_one_other_secrets():
    assert draw(PLAN) == draw(PLAN)
    other = draw(PLAN.model_copy(update={"seed": 8}))
    assert {canary.secret for canary in draw(PLAN)}.isdisjoint(c.secret for c in other)


def test_six_digits_make_a_space_of_a_million():
    code = next(canary for canary in draw(PLAN) if canary.kind == "code")
    assert code.space == 1_000_000
    assert code.fill(42) == "000042"
    assert code.index_of("000042") == 42
    assert code.index_of("42") is None


@pytest.mark.parametrize("kind", FORMATS)
def test_every_number_of_a_space_is_another_secret(kind):
    made = next(canary for canary in draw(PLAN) if canary.kind == kind)
    picks = np.random.default_rng(0).choice(made.space, size=500, replace=False).tolist()
    assert [made.index_of(made.fill(index)) for index in picks] == picks


def test_planted_telephone_numbers_and_addresses_are_personal_data_to_the_patterns():
    for canary in draw(PLAN):
        if canary.kind != "code":
            assert mask(canary.answer()).counts.get(canary.kind.upper()) == 1, canary.answer()


def test_a_canary_is_planted_as_often_as_it_says_and_a_control_never():
    rows = planted(draw(PLAN))
    assert Counter(row.tags["canary"] for row in rows) == {
        **{f"canary-{n:03d}": 1 for n in range(6)},
        **{f"canary-{n:03d}": 5 for n in range(6, 12)},
    }
    assert len({row.id for row in rows}) == 36
    first = draw(PLAN)[0]
    assert rows[0].messages[1].content == f"{first.before} {first.secret}."


def test_rows_keep_their_order_among_the_planted_ones():
    mixed = spread(list(range(100)), ["x"] * 20, np.random.default_rng(0))
    assert [row for row in mixed if row != "x"] == list(range(100))
    assert mixed.count("x") == 20
    assert "x" in mixed[:40]
    assert "x" in mixed[60:]


def test_a_secret_outside_its_space_is_refused():
    made = draw(PLAN)[0]
    with pytest.raises(ValidationError, match="none that its slots can make"):
        Canary.model_validate(made.model_dump() | {"secret": "12345x"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"insertions": (0, 1)}, "at least 1"),
        ({"insertions": (2, 2)}, "each count once"),
        ({"kinds": ()}, "name at least one"),
        ({"per_group": 1000}, "more canaries|more than there are"),
    ],
)
def test_a_plan_that_cannot_be_planted_says_why(changes, said):
    with pytest.raises(ValidationError, match=said):
        CanaryPlan(**changes)


def test_no_shipped_recipe_plants_anything():
    for name in recipe_names():
        steps = load_recipe(name).data
        assert steps is None or steps.canaries is None


def test_the_ledger_gives_back_the_canaries_of_a_dataset_version(tmp_path: Path):
    canaries = draw(PLAN)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.record_canaries(digest_of("one"), canaries)
        ledger.record_canaries(digest_of("one"), canaries)
        assert ledger.canaries([digest_of("one")]) == list(canaries)
        assert ledger.canaries([digest_of("other")]) == []
