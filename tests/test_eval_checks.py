"""The table of checks: rows that are complete, and a module that stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from eval.checks import CHECKS


def test_every_check_has_a_name_of_its_own_a_unit_a_source_and_a_meaning_of_zero() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.unit
        assert check.source
        assert check.zero
        assert check.measure.__doc__


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_an_unknown_key_in_a_configuration_is_refused(check: object) -> None:
    with pytest.raises(ValidationError, match="max_itms"):
        check.config.model_validate({"data": "x", "max_itms": 3})  # type: ignore[attr-defined]  # parametrised


def test_importing_the_table_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "lm_eval", "ragas", "datasets")
    code = f"import eval.checks, eval.measure, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
