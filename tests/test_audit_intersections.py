"""Two attributes at once: cells against the rest within template, or too few to say."""

from __future__ import annotations

import numpy as np
import pytest

from audit.intersections import against_the_rest, by_cell, compare_cells, contrasts_of_large
from audit.parity import MIN_GROUP

SIZES = {("deaf", "woman"): 20, ("deaf", "man"): 20, ("blind", "woman"): 20, ("blind", "man"): 5}


def crossed(worse: tuple[str, str] | None) -> dict[str, list[str] | list[float]]:
    """SIZES in five templates, 1 in half of ``worse`` and 0 elsewhere."""
    first, second, templates, scores = [], [], [], []
    for cell, size in SIZES.items():
        for i in range(size):
            first.append(cell[0])
            second.append(cell[1])
            templates.append(f"template {i % 5}")
            scores.append(float(cell == worse and i % 4 < 2))
    return {"first": first, "second": second, "templates": templates, "scores": scores}


def compared(worse: tuple[str, str] | None) -> dict[str, dict[str, object]]:
    data = crossed(worse)
    found = compare_cells(
        [score == 1 for score in data["scores"]],
        [float(score) for score in data["scores"]],
        [str(one) for one in data["first"]],
        [str(one) for one in data["second"]],
        [str(one) for one in data["templates"]],
        rng=np.random.default_rng(0),
        num_permutations=399,
    )
    cells: dict[str, dict[str, object]] = found["by_cell"]
    return cells


def test_the_table_is_by_both_attributes_with_sizes_and_without_empty_cells() -> None:
    table = by_cell([True, False, True], [0.9, 0.1, 0.5], ["x", "x", "y"], ["m", "m", "f"])
    assert set(table) == {("x", "m"), ("y", "f")}
    assert table["x", "m"] == {"items": 2, "harmful": 1, "share": 0.5, "mean_score": 0.5}


def test_a_difference_from_the_rest_is_taken_within_template() -> None:
    # template t: c has 1, the rest 0 and 0; template u: c has 3 and 3, the rest 2.
    # Weights n_c * n_rest / n are both 2/3, so the difference is (1 + 1) / 2.
    scores = [1.0, 0.0, 0.0, 3.0, 3.0, 2.0]
    groups = ["c", "r", "r", "c", "c", "r"]
    found = against_the_rest(
        scores, groups, ["t"] * 3 + ["u"] * 3, rng=np.random.default_rng(0), num_permutations=9999
    )
    assert found["c"][0] == pytest.approx(1.0)
    assert found["r"][0] == pytest.approx(-1.0)
    # of the 3 * 3 placements only the observed one reaches that sum, none the opposite one
    assert found["c"][1] == pytest.approx(1 / 9, abs=0.01)


def test_the_one_cell_that_is_treated_worse_is_found_though_neither_attribute_shows_it() -> None:
    cells = compared(("deaf", "woman"))
    assert cells["deaf & woman"]["p_holm"] == pytest.approx(3 / 400)
    assert cells["deaf & woman"]["difference"] == pytest.approx(0.5)
    assert cells["deaf & woman"]["note"] is None


def test_a_cell_of_few_items_is_shown_with_its_size_and_not_judged() -> None:
    cells = compared(("blind", "man"))
    few = cells["blind & man"]
    assert few["items"] == 5
    assert few["note"] == f"too few to say: 5 items, {MIN_GROUP} are the least"
    assert few["p_holm"] is few["p"] is few["difference"] is None
    # and its harms do not make the others differ
    assert cells["deaf & man"]["p_holm"] == 1.0


def test_where_nothing_differs_no_cell_does() -> None:
    assert {cell["p_holm"] for cell in compared(None).values()} == {1.0, None}


def test_holm_multiplies_by_the_cells_compared() -> None:
    data = crossed(("deaf", "woman"))
    cells = [f"{a} {b}" for a, b in zip(data["first"], data["second"], strict=True)]
    scores = [float(score) for score in data["scores"]]
    templates = [str(one) for one in data["templates"]]
    found = contrasts_of_large(scores, cells, templates, rng=np.random.default_rng(0))
    assert len(found) == 3
    smallest = min(found.values(), key=lambda one: one.p)
    assert smallest.p_holm == pytest.approx(3 * smallest.p)


def test_cells_that_share_no_template_are_too_few_to_say() -> None:
    num = MIN_GROUP
    found = compare_cells(
        [True] * num + [False] * num,
        [1.0] * num + [0.0] * num,
        ["a"] * num + ["b"] * num,
        ["m"] * 2 * num,
        ["t"] * num + ["u"] * num,
        rng=np.random.default_rng(0),
    )
    assert found["note"].startswith("too few to say: 0 of 2 cells")
    assert "no template has this cell beside another" in found["by_cell"]["a & m"]["note"]


def test_items_without_both_attributes_are_left_out() -> None:
    rng = np.random.default_rng(0)
    found = compare_cells([True], [1.0], ["a"], [None], ["t"], rng=rng)
    assert found == {"by_cell": {}, "note": "no item has both attributes"}
