"""Settings: bounds that name the field, and one reader of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serve.settings import (
    ServingPlan,
    SettingsError,
    VariantPlan,
    settings_from_environment,
)

PLAN = ServingPlan(
    model_name="support", variants=(VariantPlan(name="a", checkpoint=Path("checkpoint")),)
)


def test_the_environment_fills_what_the_caller_leaves_open(tmp_path):
    environ = {
        "HALLMARK_PORT": "9001",
        "HALLMARK_HOST": "0.0.0.0",
        "HALLMARK_API_KEYS": "one, two",
        "HALLMARK_MAX_IN_FLIGHT": "3",
        "HALLMARK_ENGINE_DTYPE": "bfloat16",
        "HALLMARK_ENGINE_CORES": "0,1",
        "HALLMARK_ENGINE_EXTRA_ARGS": "--seed,7",
        "HALLMARK_GRACE_SECONDS": "",
    }
    settings = settings_from_environment(environ, plan=PLAN, home=tmp_path, host="127.0.0.1")
    assert (settings.host, settings.port, settings.max_in_flight) == ("127.0.0.1", 9001, 3)
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]
    assert settings.engine.dtype == "bfloat16"
    assert settings.engine.cores == (0, 1)
    assert settings.engine.extra_args == ("--seed", "7")
    assert settings.grace_seconds == 30


def test_a_value_out_of_bounds_names_its_variable(tmp_path):
    with pytest.raises(SettingsError, match=r"port \(from HALLMARK_PORT\): .*65535"):
        settings_from_environment({"HALLMARK_PORT": "70000"}, plan=PLAN, home=tmp_path)


def test_a_bad_engine_option_names_its_variable(tmp_path):
    with pytest.raises(SettingsError, match=r"engine.max_model_len \(from HALLMARK_ENGINE_MAX"):
        settings_from_environment({"HALLMARK_ENGINE_MAX_MODEL_LEN": "x"}, plan=PLAN, home=tmp_path)


def test_keys_are_not_shown():
    settings = settings_from_environment({"HALLMARK_API_KEYS": "geheim"}, plan=PLAN, home=Path())
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("variants", "complaint"),
    [
        ([("a", 1.0), ("a", 1.0)], "variant names repeat"),
        ([("a", 0.0)], "add up to 0"),
        ([("a@b", 1.0)], "name"),
        ([("a", -1.0)], "weight"),
        ([], "variants"),
    ],
)
def test_a_plan_that_cannot_be_split_is_refused(variants, complaint):
    rows = [{"name": name, "checkpoint": "x", "weight": weight} for name, weight in variants]
    with pytest.raises(ValidationError, match=complaint):
        ServingPlan.model_validate({"model_name": "support", "variants": rows})
