"""Recipes: every shipped one loads, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.loop import RECIPES, own_recipes
from registry.records import UserError
from tests.journeys import shortened
from train.recipe import RecipeError, Schedule, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads(name: str) -> None:
    assert load_recipe(name).steps > 0


def test_the_recipes_that_the_commands_name_are_there() -> None:
    wanted = {
        "base-cpu", "sft-cpu", "prefer-dpo-cpu", "prefer-kto-cpu", "real-base-cpu",
        "real-sft-cpu", "real-prefer-cpu", "gpu-17m", "gpu-60m", "gpu-130m", "gpu-342m",
    }  # fmt: skip
    assert wanted <= set(recipe_names())


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_recipe_can_be_given_by_path(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "{stage: sft, steps: 3, tokens_per_batch: 64}")).steps == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{stage: sft, steps: 3, tokens_per_batch: 64, stepz: 1}", "unknown key 'stepz'; allowed"),
        (
            "{stage: sft, steps: 3, tokens_per_batch: 64, optimizer: {rate: 1}}",
            "unknown key 'optimizer.rate'; allowed here: adam_rate, betas",
        ),
        ("{stage: sft, tokens_per_batch: 64}", "key 'steps' is missing"),
        ("{stage: sft, steps: 0, tokens_per_batch: 64}", "steps: Input should be greater"),
        ("{stage: sft, steps: 1, tokens_per_batch: 64, prefer: {objective: dpo}}", "prefer: need"),
        ("{stage: pretrain, steps: 1, tokens_per_batch: 64}", "shape: needed for stage pretrain"),
        ("just text", "must be a mapping"),
        ("{stage: [", "not valid YAML"),
    ],
)
def test_a_wrong_recipe_names_the_file_the_key_and_what_is_allowed(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text))
    assert said in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"no recipe named 'bse-cpu'; have base-cpu, "):
        load_recipe("bse-cpu")


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_the_schedule_warms_up_stays_and_decays_to_its_final_share() -> None:
    schedule = Schedule(warmup=0.1, decay=0.5, final=0.2)
    shares = [schedule.scale(done) for done in (0.05, 0.1, 0.3, 0.5, 0.75, 1.0)]
    assert shares == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.6, 0.2])


def test_the_loop_takes_recipes_of_its_names_from_a_folder_and_the_others_as_shipped(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=r"none of real-base-cpu\.yaml, real-sft-cpu\.yaml"):
        own_recipes(tmp_path)
    mine = shortened(tmp_path, "real-sft-cpu", 7)
    found = own_recipes(tmp_path)
    assert found == {
        "real-base-cpu": "real-base-cpu",
        "real-sft-cpu": str(mine),
        "real-prefer-cpu": "real-prefer-cpu",
    }
    assert load_recipe(found["real-sft-cpu"]).steps == 7
    assert own_recipes(None) == {name: name for name in RECIPES}
