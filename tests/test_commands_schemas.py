"""The published JSON Schemas are those of the code, and say no where the gate says no."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from commands.schemas import FOLDER, as_text, schemas
from eval.policy import BUILT_IN
from tests.gate_cases import HALF, entry, verdict

SHIPPED = sorted(BUILT_IN.glob("*.yaml"))


@pytest.fixture(scope="module")
def generated() -> dict[str, dict[str, Any]]:
    return schemas()


def complaints(schema: dict[str, Any], value: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


def test_the_committed_schemas_are_the_generated_ones(generated: dict[str, Any]) -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(generated)
    old = [name for name in generated if (FOLDER / name).read_text() != as_text(generated[name])]
    assert old == [], "the models changed: run `make schemas` and commit docs/schemas"


def test_the_schemas_are_schemas(generated: dict[str, Any]) -> None:
    for schema in generated.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_holds_and_names_its_schema_in_its_first_line(
    generated: dict[str, Any], path: Path
) -> None:
    assert complaints(generated["policy.schema.json"], yaml.safe_load(path.read_text())) == []
    first = path.read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None
    assert (path.parent / named[1]).resolve() == FOLDER / "policy.schema.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"check": "vibes"}, "'vibes' is not one of"),
        ({"tier": "blocking"}, "'blocking' is not one of"),
        ({"margin": -0.1}, "-0.1 is not valid under any"),
        ({"margins": 0.1}, "'margins' was unexpected"),
        ({"config": {"dats": "x", "data": "y"}}, "'dats' was unexpected"),
        ({"config": {}}, "'data' is a required property"),
    ],
)
def test_an_editor_sees_what_the_gate_would_refuse(
    generated: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    policy = yaml.safe_load((BUILT_IN / "support.yaml").read_text())
    policy["entries"][0] |= change
    assert any(said in one for one in complaints(generated["policy.schema.json"], policy))


def test_a_verdict_holds_and_one_without_status_does_not(generated: dict[str, Any]) -> None:
    body = json.loads(verdict(entry(), HALF, HALF).model_dump_json())
    assert complaints(generated["verdict.schema.json"], body) == []
    del body["status"]
    assert complaints(generated["verdict.schema.json"], body) == ["'status' is a required property"]
