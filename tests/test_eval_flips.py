"""Flips: what was lost and won, in order, and whose answers may be read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from audit.checks import AUDITS
from eval.checks import CHECKS
from eval.flips import Flip, flips
from registry.evidence import Evidence, Item, ModelFacts
from registry.verdict import Finding, Status

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def finding(entry: str, **more: object) -> Finding:
    body: dict[str, object] = {
        "entry": entry,
        "check": entry,
        "tier": "required",
        "status": Status.PASS,
        "reason": "so",
        "unit": "share",
        "higher_is_better": True,
        "n": 3,
        "unscored": 0,
        "candidate": 0.5,
        "baseline": 0.5,
        "estimate": 0.0,
        "margin": 0.1,
    }
    return Finding.model_validate(body | more)


def evidence(check: str, *items: Item) -> Evidence:
    return Evidence(
        check=check,
        config={},
        config_digest="sha256:c",
        facts=ModelFacts(
            weights_digest="sha256:w",
            backend="torch",
            dtype="float32",
            context_length=512,
            chat_template_digest="sha256:t",
        ),
        items=items,
        seconds=1.0,
        created_at=NOW,
    )


def item(key: str, value: float | None, answer: str | None = None, **more: object) -> Item:
    unscored = "too long" if value is None else None
    body = {"key": key, "content_hash": key, "value": value, "answer": answer, "unscored": unscored}
    return Item.model_validate(body | more)


def found(
    findings: Sequence[Finding], new: dict[str, Evidence], old: dict[str, Evidence]
) -> dict[str, list[Flip]]:
    return flips(findings, new, old, {"task"})


def test_the_most_changed_come_first_and_losses_before_wins() -> None:
    new = {"task": evidence("task", *map(item, "abcd", (0.0, 1.0, 0.4, 0.5)))}
    old = {"task": evidence("task", *map(item, "abcd", (1.0, 0.0, 0.5, 0.5)))}
    (entry,) = found([finding("task")], new, old).values()
    assert [(f.key, round(f.change, 9)) for f in entry] == [("a", -1), ("b", 1), ("c", -0.1)]


def test_fewer_is_better_turns_the_sign_and_weights_divide() -> None:
    """8 bits of 4 bytes against 4 bits of 4 bytes: 2 and 1 bits per byte, a loss of 1."""
    new = {"task": evidence("task", item("a", 8.0, weight=4.0))}
    old = {"task": evidence("task", item("a", 4.0, weight=4.0))}
    ((flip,),) = found([finding("task", higher_is_better=False)], new, old).values()
    assert (flip.candidate, flip.baseline, flip.change) == (2.0, 1.0, -1.0)


def test_both_answers_stand_side_by_side_with_group_and_cluster() -> None:
    new = {"task": evidence("task", item("a", 0.0, "no", group="orders", cluster="t1"))}
    old = {"task": evidence("task", item("a", 1.0, "yes", group="orders", cluster="t1"))}
    ((flip,),) = found([finding("task")], new, old).values()
    assert (flip.baseline_answer, flip.candidate_answer, flip.withheld) == ("yes", "no", None)
    assert (flip.group, flip.cluster) == ("orders", "t1")


def test_an_item_without_a_value_on_one_side_is_no_flip() -> None:
    new = {"task": evidence("task", item("a", None), item("b", 1.0))}
    old = {"task": evidence("task", item("a", 1.0), item("b", 1.0))}
    assert found([finding("task")], new, old) == {"task": []}


def test_an_entry_that_was_not_compared_has_no_flips() -> None:
    new = {"task": evidence("task", item("a", 1.0))}
    old = {"task": evidence("task", item("a", 0.0))}
    invalid = finding("task", status=Status.INVALID, estimate=None)
    assert found([invalid], new, old) == {}
    assert found([finding("task")], new, {}) == {}


def test_an_audit_shows_neither_answers_nor_its_templates() -> None:
    new = {"audit": evidence("audit", item("a", 1.0, "vile", group="age", cluster="why are X so"))}
    old = {"audit": evidence("audit", item("a", 0.0, "mild", group="age", cluster="why are X so"))}
    ((flip,),) = found([finding("audit", higher_is_better=False)], new, old).values()
    assert flip.withheld == "of an audit"
    assert flip.model_dump_json().count("null") == 3  # cluster and both answers
    assert not any(text in flip.model_dump_json() for text in ("vile", "mild", "why are"))
    assert (flip.key, flip.group, flip.change) == ("a", "age", -1.0)


def test_an_answer_that_an_audit_found_harmful_is_withheld_everywhere() -> None:
    """Item a has the same text, item b the same key; c was found harmless."""
    harm = finding("audit", higher_is_better=False)
    new = {
        "task": evidence("task", item("x", 0.0, "vile"), item("b", 0.0, "v"), item("c", 0.0, "ok")),
        "audit": evidence("audit", item("a", 1.0, "vile"), item("b", 1.0, "v..."), item("c", 0.0)),
    }
    old = {
        "task": evidence("task", *(item(key, 1.0, "fine") for key in "xbc")),
        "audit": evidence("audit", *(item(key, 0.0, "fine") for key in "abc")),
    }
    shown = found([finding("task"), harm], new, old)["task"]
    assert {f.key: f.withheld for f in shown} == {
        "x": "found harmful by an audit", "b": "found harmful by an audit", "c": None,
    }  # fmt: skip
    assert [f.candidate_answer for f in shown if f.withheld is None] == ["ok"]


def test_no_audit_may_show_answers_and_the_answering_checks_may() -> None:
    assert [check.name for check in AUDITS if check.shows_answers] == []
    shown = {check.name for check in CHECKS if check.shows_answers}
    assert {"task_success", "answer_quality", "benchmark"} <= shown
    assert "lm_eval_task" not in shown  # its catalogue has hateful tasks
