"""JSON Schemas of what people and CI write and read: policy, verdict, audit, experiment.

    make schemas                                   write docs/schemas again

An editor with the YAML language server takes a policy's schema from the file's first line:
``# yaml-language-server: $schema=PATH/policy.schema.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.report import AuditReport
from commands.policies import ALL_CHECKS
from eval.checks import Check
from eval.policy import policy_schema
from registry.records import write_atomically
from registry.verdict import Verdict
from serve.experiment_files import design_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas by file name."""
    return {
        "policy.schema.json": {"$schema": DIALECT, **policy_with_checks(ALL_CHECKS)},
        "verdict.schema.json": {
            "$schema": DIALECT,
            **Verdict.model_json_schema(mode="serialization"),
        },
        "audit.schema.json": {
            "$schema": DIALECT,
            **AuditReport.model_json_schema(mode="serialization"),
        },
        "experiment.schema.json": {"$schema": DIALECT, **design_schema()},
    }


def policy_with_checks(checks: Sequence[Check]) -> dict[str, Any]:
    """The policy's schema, with each check's own keys below ``config``."""
    schema = policy_schema()
    rule = schema["$defs"]["Rule"]
    rule["properties"]["check"]["enum"] = [check.name for check in checks]
    rule["allOf"] = []
    for check in checks:
        config = dict(check.config.model_json_schema())
        for name, definition in config.pop("$defs", {}).items():
            if schema["$defs"].setdefault(name, definition) != definition:
                raise ValueError(f"two definitions are named {name}; rename one of the models")
        then: dict[str, Any] = {"properties": {"config": config}}
        if config.get("required"):
            then["required"] = ["config"]
        asked = {"properties": {"check": {"const": check.name}}, "required": ["check"]}
        rule["allOf"].append({"if": asked, "then": then})
    return schema


def as_text(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def main() -> None:
    for name, schema in schemas().items():
        write_atomically(FOLDER / name, as_text(schema).encode())
        print(f"docs/schemas/{name}")


if __name__ == "__main__":
    main()
