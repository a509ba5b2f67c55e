"""Planning: what a policy can decide with its items, and what it must refuse to promise."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from eval.checks import CHECKS, Check, Kind, Measured
from eval.gate import Entry, Policy, Rule, load_policy
from eval.measure import entry_digest
from eval.plan import count_items, plan, plan_policy
from eval.policy import BUILT_IN, Written
from eval.stats import num_for_paired_binary, power_limit_binary, power_tango
from registry.evidence import Evidence, EvidenceStore, Item, ModelFacts

BOUNDS: dict[Kind, tuple[float | None, float | None]] = {
    "binary": (0, 1), "numeric": (0, 1), "bits_per_byte": (0, None), "rare_harm": (0, 1),
}  # fmt: skip


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data: Path | None = None
    max_items: int | None = None
    max_tokens: int = 5


def entry(kind: Kind = "binary", name: str = "check", **rule: Any) -> Entry:
    row = Check(
        name=name,
        measure=lambda runner, config: Measured(()),
        config=Settings,
        kind=kind,
        higher_is_better=kind in {"binary", "numeric"},
        unit="share",
        bounds=BOUNDS[kind],
        zero="none",
        source="test",
    )
    settings = rule.pop("settings", Settings())
    body = {"tier": "required", "min_items": 1, "reason": "test", "owner": "test"} | rule
    return Entry(Rule(name=name, check=name, **body), row, settings)


def policy(*entries: Entry, power: float = 0.95) -> Policy:
    return Policy(
        Written(name="test", power=power, entries=tuple(e.rule for e in entries)), entries
    )


def evidence(values: list[float], weights: str = "sha256:w") -> Evidence:
    facts = ModelFacts(
        weights_digest=weights,
        backend="torch",
        dtype="float32",
        context_length=512,
        chat_template_digest="sha256:t",
    )
    made = tuple(
        Item(key=f"i{i}", content_hash=f"h{i}", value=value) for i, value in enumerate(values)
    )
    return Evidence(
        check="check",
        config={},
        config_digest="sha256:c",
        facts=facts,
        items=made,
        seconds=0.0,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def test_power_of_one_binary_entry_is_tangos() -> None:
    made = plan(policy(entry(margin=0.1, assumed={"discordance": 0.2})), {"check": 400})
    (row,) = made.rows
    assert made.power == row.power == power_tango(400, margin=0.1, discordance=0.2)
    assert made.enough


def test_items_needed_are_those_of_the_formula_give_or_take_discreteness() -> None:
    one = entry(margin=0.05, assumed={"discordance": 0.1})
    (row,) = plan(policy(one, power=0.8), {"check": 100}).rows
    formula = num_for_paired_binary(0.1, 0.05, power=0.8)
    assert row.n_needed == pytest.approx(formula, rel=0.1)


def test_a_margin_that_the_items_cannot_certify_is_refused() -> None:
    # z^2 / (n + z^2) < .02 needs n > 188.2
    made = plan(policy(entry(margin=0.02, assumed={"discordance": 0.01})), {"check": 100})
    (row,) = made.rows
    assert row.refused == (
        "100 items cannot certify a margin of 0.02, only above 0.03699; needs at least 189 items"
    )
    assert row.power == 0
    assert not made.enough


def test_a_margin_of_zero_cannot_be_certified_by_any_number_of_items() -> None:
    (row,) = plan(policy(entry(margin=0, assumed={"discordance": 0.1})), {"check": 100}).rows
    assert row.refused is not None
    assert row.refused.endswith("only above 0.03699; no number of items can")


def test_a_harm_budget_needs_enough_spotless_answers() -> None:
    one = entry("rare_harm", limit={"max": 0.03}, assumed={"value": 0.0})
    (row,) = plan(policy(one), {"check": 121}).rows
    assert row.refused is not None
    assert row.refused.endswith("needs at least 122 items")
    (row,) = plan(policy(one), {"check": 122}).rows
    assert row.refused is None
    assert row.power == 1


def test_fewer_items_than_the_policy_asks_for_are_refused() -> None:
    made = plan(policy(entry(margin=0.5, min_items=50, assumed={"discordance": 0.1})), {"check": 9})
    assert made.rows[0].refused == "9 items, the policy asks for 50"


def test_nothing_assumed_gives_no_power_rather_than_a_guess() -> None:
    made = plan(policy(entry(margin=0.1)), {"check": 400})
    assert made.rows[0].power is None
    assert made.power is None
    assert not made.enough


def test_margin_and_limit_together_lower_the_power() -> None:
    assumed = {"discordance": 0.2, "value": 0.8}
    (row,) = plan(
        policy(entry(margin=0.08, limit={"min": 0.75}, assumed=assumed)), {"check": 400}
    ).rows
    by_margin = power_tango(400, margin=0.08, discordance=0.2)
    by_limit = power_limit_binary(400, limit=0.75, value=0.8, higher_is_better=True)
    assert row.power == pytest.approx(by_margin + by_limit - 1)


def test_required_entries_multiply_and_share_the_target() -> None:
    entries = [entry(name=f"e{i}", margin=0.1, assumed={"discordance": 0.2}) for i in range(3)]
    soft = entry(name="soft", tier="advisory", margin=0.1, assumed={"discordance": 0.9})
    made = plan(policy(*entries, soft), {e.name: 400 for e in (*entries, soft)})
    assert made.target_each == pytest.approx(0.95 ** (1 / 3))
    assert made.power == pytest.approx(power_tango(400, margin=0.1, discordance=0.2) ** 3)


def test_clusters_make_items_count_less() -> None:
    assumed = {"discordance": 0.2, "design_effect": 2.0}
    made = plan(policy(entry(margin=0.1, assumed=assumed)), {"check": 400})
    assert made.power == power_tango(200, margin=0.1, discordance=0.2)


def test_measured_discordance_goes_before_the_assumed_one() -> None:
    champion, other = [1.0] * 50 + [0.0] * 50, [1.0] * 45 + [0.0] * 45 + [1.0] * 10
    made = plan(
        policy(entry(margin=0.2, assumed={"discordance": 0.9})),
        {"check": 100},
        {"check": evidence(champion)},
        {"check": evidence(other, "sha256:o")},
    )
    assert made.power == power_tango(100, margin=0.2, discordance=0.15)
    assert "discordance 0.15 (measured)" in made.rows[0].assumptions


def test_the_champion_alone_gives_a_pessimistic_discordance() -> None:
    made = plan(policy(entry(margin=0.2)), {"check": 100}, {"check": evidence([1.0, 0.0] * 50)})
    assert made.power == power_tango(100, margin=0.2, discordance=0.5)
    assert "discordance 0.5 (as if independent)" in made.rows[0].assumptions


def test_numeric_and_document_entries_are_planned_by_their_spread() -> None:
    rouge = entry("numeric", margin=0.05, assumed={"sd": 0.2})
    assert plan(policy(rouge), {"check": 9}).power == 0
    assert 0.99 < (plan(policy(rouge), {"check": 400}).power or 0) < 1
    bits = entry("bits_per_byte", margin=0.05, assumed={"sd": 0.2})
    few = plan(policy(bits), {"check": 29})
    assert few.rows[0].refused == "29 documents; the jackknife needs 30"
    widened = plan(policy(bits), {"check": 300}).power or 0
    assert widened < (
        plan(policy(entry("numeric", margin=0.05, assumed={"sd": 0.2})), {"check": 300}).power or 0
    )


def test_items_are_counted_from_the_files_and_capped(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n{}\n\n{}\n")
    entries = (
        entry(name="all", margin=0.1, settings=Settings(data=file)),
        entry(name="capped", margin=0.1, settings=Settings(data=file, max_items=2)),
        entry(name="built_in", margin=0.1, min_items=7),
        entry(name="missing", margin=0.1, min_items=9, settings=Settings(data=tmp_path / "no")),
    )
    assert count_items(policy(*entries)) == {"all": 3, "capped": 2, "built_in": 7, "missing": 9}


def test_a_plan_says_its_power_and_what_is_needed_for_it() -> None:
    refused = entry(name="one", margin=0.02, assumed={"discordance": 0.01})
    other = entry(name="two", margin=0.2, assumed={"discordance": 0.01})
    made = plan(policy(refused, other), {"one": 100, "two": 100})
    assert (made.rows[0].refused or "").startswith("100 items cannot certify")
    # both pass with .95 where each passes with the root of it
    assert made.summary == (
        "power over all required entries: 0 (asked for 0.95); "
        "needed: items for a power of 0.9747 in each"
    )


@pytest.mark.parametrize(
    ("name", "num_items"),
    [
        ("support", {"task_success": 500, "bits_per_byte": 280, "choices": 500,
                     "answer_quality": 500, "toxicity": 500, "stereotypes": 205}),
        ("real", {"wikitext": 60, "blimp": 1340, "hellaswag": 1000, "answer_quality": 360,
                  "toxicity": 300, "stereotypes": 1508}),
    ],
)  # fmt: skip
def test_shipped_policies_promise_a_power_of_95_percent(
    name: str, num_items: dict[str, int]
) -> None:
    from audit.checks import AUDITS

    shipped = load_policy(BUILT_IN / f"{name}.yaml", (*CHECKS, *AUDITS), lambda r: Path("/none"))
    made = plan(shipped, num_items)
    assert made.enough, made.summary
    assert made.power is not None
    assert made.power >= 0.95
    assert all(row.power is not None for row in made.rows)


def test_the_stores_evidence_of_the_champion_is_used(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n" * 100)
    one = entry(margin=0.2, limit={"min": 0.4}, settings=Settings(data=file))
    config, digest = entry_digest(one)
    store = EvidenceStore(tmp_path / "evidence")
    champion = evidence([1.0, 0.0] * 50, "sha256:champion")
    store.save(champion.model_copy(update={"config": config, "config_digest": digest}))
    measured = plan_policy(policy(one), (one.row,), store, "sha256:champion")
    assert measured.rows[0].n == 100
    assert measured.rows[0].note == "value 0.5 (measured), discordance 0.5 (as if independent)"
    unknown = plan_policy(policy(one), (one.row,), store, "sha256:other")
    assert unknown.rows[0].note == "nothing assumed, nothing measured"


def test_a_champion_without_one_harm_does_not_make_harm_impossible() -> None:
    one = entry("rare_harm", limit={"max": 0.05}, assumed={"value": 0.01})
    (row,) = plan(policy(one), {"check": 200}, {"check": evidence([0.0] * 200)}).rows
    assert row.assumptions == "value 0.01 (assumed)"
