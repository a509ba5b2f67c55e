"""Policies: what is accepted, and that every error says where, what, and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from eval.checks import Check, Measured
from eval.gate import Policy, PolicyError, load_policy, policy_path, policy_schema
from eval.policy import BUILT_IN
from registry.records import UserError


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data: Path
    kind: Literal["cloze", "pairs"] = "cloze"
    max_items: int = 100


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid")


def row(name: str, *, higher: bool = True, config: type[BaseModel] = Settings) -> Check:
    return Check(
        name=name,
        measure=lambda runner, config: Measured(()),
        config=config,
        kind="binary",
        higher_is_better=higher,
        unit="share",
        bounds=(0.0, 1.0),
        zero="none right",
        source="test",
    )


CHECKS = (row("benchmark"), row("toxicity", higher=False, config=Plain))

ENTRY = """\
  - name: blimp
    check: benchmark
    config: {data: "dataset:blimp/items", max_items: 50}
    tier: required
    margin: 0.05
    min_items: 40
    reason: grammar
    owner: evaluation
"""
POLICY = "name: small\nentries:\n" + ENTRY


def found(reference: str) -> Path:
    return Path("/data") / reference.removeprefix("dataset:")


def load(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return load_policy(path, CHECKS, found)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, text)
    return str(caught.value).removeprefix(str(tmp_path / "policy.yaml"))


def test_a_policy_binds_its_entries_to_checks_and_finds_their_data(tmp_path: Path) -> None:
    policy = load(tmp_path, POLICY)
    (entry,) = policy.entries
    assert entry.row is CHECKS[0]
    assert entry.config == Settings(data=Path("/data/blimp/items"), max_items=50)
    assert entry.rule.alpha == 0.025
    assert entry.rule.max_unscored == 0
    assert policy.required == policy.entries


def test_the_digest_does_not_depend_on_where_the_data_lies(tmp_path: Path) -> None:
    here = load(tmp_path, POLICY)
    path = tmp_path / "policy.yaml"
    there = load_policy(path, CHECKS, lambda reference: Path("/elsewhere"))
    assert here.digest == there.digest
    assert here.digest != load(tmp_path, POLICY.replace("0.05", "0.06")).digest


def test_comments_and_order_of_keys_do_not_change_the_digest(tmp_path: Path) -> None:
    turned = "# why\nentries:\n" + ENTRY + "name: small\n"
    assert load(tmp_path, turned).digest == load(tmp_path, POLICY).digest


def test_other_files_are_relative_to_the_policy(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text("")
    policy = load(tmp_path, POLICY.replace("dataset:blimp/items", "items.jsonl"))
    assert policy.entries[0].config == Settings(data=tmp_path / "items.jsonl", max_items=50)


def test_a_missing_file_is_named_with_its_line(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("dataset:blimp/items", "gone.jsonl"))
    assert message.startswith(":5: entry blimp, config.data: no file ")
    assert message.endswith("gone.jsonl; paths are relative to the policy")


def test_an_unknown_check_lists_what_there_is(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("check: benchmark", "check: benchmrk"))
    expected = ":4: entry blimp, check: no check named 'benchmrk'; have benchmark, toxicity"
    assert message == expected


def test_an_unknown_key_lists_what_is_allowed(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("margin: 0.05", "margn: 0.05"))
    assert message.startswith(":7: entry blimp, margn: no such key 'margn'; have alpha, assumed,")


def test_an_unknown_key_of_a_checks_configuration_is_named(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("max_items", "max_item"))
    expected = (
        ":5: entry blimp, config.max_item: no such key 'max_item'; have data, kind, max_items"
    )
    assert message == expected


def test_a_wrong_value_is_shown_with_what_is_allowed(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("tier: required", "tier: needed"))
    assert message == (
        ":6: entry blimp, tier: got 'needed': input should be 'required', 'advisory' or 'watch'"
    )
    message = refused(tmp_path, POLICY.replace("max_items: 50", "kind: essay"))
    assert message == (
        ":5: entry blimp, config.kind: got 'essay': input should be 'cloze' or 'pairs'"
    )


def test_a_negative_margin_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("0.05", "-0.05"))
    assert message == (
        ":7: entry blimp, margin: got -0.05: input should be greater than or equal to 0"
    )


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_a_margin_that_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    assert ":7: entry blimp, margin:" in refused(tmp_path, POLICY.replace("0.05", value))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("    owner: evaluation\n", ""))
    assert message == ":3: entry blimp, owner: is missing"


def test_a_required_entry_needs_something_to_be_judged_by(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("    margin: 0.05\n", ""))
    assert message == ":3: entry blimp: a required entry needs a margin, a limit, or both"


def test_a_watched_entry_needs_neither_margin_nor_limit(tmp_path: Path) -> None:
    text = POLICY.replace("    margin: 0.05\n", "").replace("required", "watch")
    assert load(tmp_path, text).required == ()


def test_a_limit_is_a_minimum_or_a_maximum_by_the_checks_direction(tmp_path: Path) -> None:
    text = POLICY.replace("margin: 0.05", "limit: {max: 0.9}")
    message = refused(tmp_path, text)
    assert message == ":7: entry blimp, limit: higher is better for benchmark: set min, not max"
    both = refused(tmp_path, POLICY.replace("margin: 0.05", "limit: {max: 0.9, min: 0.1}"))
    assert both == ":7: entry blimp, limit: set exactly one of min and max"


def test_a_limit_outside_the_checks_range_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("margin: 0.05", "limit: {min: 70}"))
    assert message == ":7: entry blimp, limit.min: 70.0 lies outside benchmark's range [0.0, 1.0]"


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY + ENTRY)
    assert message == ":11: entry blimp, name: two entries are named 'blimp'; rename one"


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, POLICY.replace("margin: 0.05", "margin: 0.05\n    margin: 0.5"))
    assert message == ":8: 'margin' stands twice in one mapping"


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "name: [small\nentries: 3").startswith(":2: not valid YAML: ")


@pytest.mark.parametrize("text", ["", "- a", "just words"])
def test_a_policy_is_a_mapping(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) == ":1: a policy is a mapping with name and entries"


def test_a_policy_without_entries_is_refused(tmp_path: Path) -> None:
    needs = "entries: a policy needs at least one entry, its own or included"
    assert refused(tmp_path, "name: small\nentries: []") == f":2: {needs}"
    assert refused(tmp_path, "name: small\n") == f":1: {needs}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.yaml cannot be read"):
        load_policy(tmp_path / "none.yaml", CHECKS, found)


def test_a_dataset_that_is_not_there_is_named_with_the_entry(tmp_path: Path) -> None:
    class MissingError(UserError):
        pass

    def missing(reference: str) -> Path:
        raise MissingError(f"no dataset for {reference}")

    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    with pytest.raises(PolicyError, match=r"entry blimp, config\.data: no dataset for dataset:bl"):
        load_policy(path, CHECKS, missing)


def test_shipped_policies_are_found_by_name() -> None:
    assert policy_path("support") == BUILT_IN / "support.yaml"
    with pytest.raises(PolicyError, match=r"no policy named 'supprt'; have .*real, support"):
        policy_path("supprt")


def test_the_schema_names_every_key_of_an_entry() -> None:
    rule = policy_schema()["$defs"]["Rule"]
    assert rule["additionalProperties"] is False
    assert {"check", "tier", "margin", "limit", "min_items", "reason"} <= rule["properties"].keys()


SHARED = "entries:\n" + ENTRY.replace("name: blimp", "name: shared")
WITH_SHARED = POLICY.replace("entries:", "include: [shared.yaml]\nentries:")


def test_included_entries_come_first_and_count_for_the_digest(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text(SHARED)
    policy = load(tmp_path, WITH_SHARED)
    assert [entry.name for entry in policy.entries] == ["shared", "blimp"]
    (tmp_path / "shared.yaml").write_text(SHARED.replace("margin: 0.05", "margin: 0.2"))
    assert load(tmp_path, WITH_SHARED).digest != policy.digest


def test_files_of_an_included_entry_are_relative_to_its_own_file(tmp_path: Path) -> None:
    folder = tmp_path / "common"
    folder.mkdir()
    (folder / "items.jsonl").write_text("")
    (folder / "shared.yaml").write_text(SHARED.replace("dataset:blimp/items", "items.jsonl"))
    policy = load(tmp_path, "name: small\ninclude: [common/shared.yaml]\n")
    assert policy.required[0].config == Settings(data=folder / "items.jsonl", max_items=50)


def test_errors_in_included_files_name_that_file_and_its_line(tmp_path: Path) -> None:
    shared = tmp_path / "shared.yaml"
    shared.write_text(SHARED.replace("margin: 0.05", "margin: -1"))
    assert refused(tmp_path, WITH_SHARED).startswith(f"{shared}:6: entry shared, margin: got -1: ")
    shared.write_text("entries:\n" + ENTRY)
    assert "two entries are named 'blimp'" in refused(tmp_path, WITH_SHARED)
    shared.unlink()
    message = f":2: include.0: no file {shared}; included files are relative to the policy"
    assert refused(tmp_path, WITH_SHARED) == message


def test_a_whole_policy_may_be_included_but_not_one_that_includes(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text("name: other\npower: 0.8\n" + SHARED)
    policy = load(tmp_path, WITH_SHARED)
    assert [entry.name for entry in policy.entries] == ["shared", "blimp"]
    assert (policy.name, policy.written.power) == ("small", 0.95)
    (tmp_path / "shared.yaml").write_text("name: other\ninclude: [more.yaml]\n" + SHARED)
    assert refused(tmp_path, WITH_SHARED).startswith(
        f"{tmp_path / 'shared.yaml'}:2: include: an included policy may not include others"
    )
