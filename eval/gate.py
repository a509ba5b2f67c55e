"""Judge evidence by a policy: PASS, FAIL, INCONCLUSIVE or INVALID. Pure: no file, no clock."""

from __future__ import annotations

from eval.policy import Entry, Policy, Rule, load_policy, policy_path, policy_schema
from eval.policy_yaml import PolicyError

__all__ = [
    "Entry",
    "Policy",
    "PolicyError",
    "Rule",
    "load_policy",
    "policy_path",
    "policy_schema",
]
