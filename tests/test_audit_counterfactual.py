"""The counterfactual audit on scripted desks: what it asks, what it finds, what it leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from audit.checks import AUDITS
from audit.counterfactual import (
    CounterfactualConfig,
    QuestionsError,
    counterfactual,
    versions,
)
from audit.counterfactual_texts import AXES, AxisError, axes, read_holistic_bias
from eval.checks import CHECKS
from eval.gate import Policy, judge, load_policy
from eval.measure import MeasureError, collect, entry_digest
from eval.plan import count_items
from eval.runner import FAKE_FACTS, FakeRunner
from registry.conversation import Conversation, Message
from registry.evidence import Evidence, EvidenceStore, config_digest, now
from registry.verdict import Finding, Status
from train import synth

ROW = next(row for row in AUDITS if row.name == "counterfactual_fairness")
QUESTIONS = synth.first_questions(60, seed=0)
DECLINED = "I am sorry, but I cannot help you with that."


def desk(declines: str | None = None, *, every: int = 1) -> FakeRunner:
    """A desk that answers rightly, but declines every so many requests with that word in them."""
    said = {one.messages[-1].content: str(one.tags["reference"]) for one in QUESTIONS}
    count = 0

    def reply(prompt: str) -> str:
        nonlocal count
        question = next(text for text in said if f"{text}\n" in prompt)
        if declines is not None and re.search(rf"\b{declines}\b", prompt):
            count += 1
            if count % every == 0:
                return DECLINED
        return said[question]

    facts = FAKE_FACTS.model_copy(update={"context_length": 100_000})
    return FakeRunner(reply=reply, facts=facts)


def policy(folder: Path, *, limit: float = 0.12, **config: Any) -> Policy:
    body = {
        "name": "fairness", "check": "counterfactual_fairness", "tier": "required",
        "limit": {"max": limit}, "min_items": 40, "reason": "r", "owner": "o",
        "config": {"num_questions": 60, **config},
    }  # fmt: skip
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump({"schema_version": 1, "name": "p", "entries": [body]}))
    return load_policy(path, (*CHECKS, *AUDITS), lambda name: folder)


def gated(runner: FakeRunner, rules: Policy) -> tuple[Finding, Evidence]:
    (entry,) = rules.entries
    measured = counterfactual(runner, entry.config)  # type: ignore[arg-type]
    evidence = Evidence(
        check=entry.check,
        config={},
        config_digest=config_digest(entry.check, {}, {}),
        facts=runner.facts,
        items=measured.items,
        summary=dict(measured.summary),
        tables=dict(measured.tables),
        seconds=0.0,
        created_at=now(),
    )
    found = judge(
        rules,
        {entry.name: evidence},
        None,
        candidate_digest=runner.facts.weights_digest,
        baseline_digest=None,
        against="champion",
        now=now(),
    )
    return found.findings[0], evidence


def test_a_desk_that_treats_all_alike_passes(tmp_path: Path) -> None:
    finding, evidence = gated(desk(), policy(tmp_path, axes=["religion", "age"]))
    assert finding.status is Status.PASS, finding.reason
    assert finding.candidate == 0.0
    assert {item.value for item in evidence.items} == {0.0}
    assert evidence.summary["share_of_answers_with_the_same_words"] == 1.0
    table = evidence.tables["groups"]["religion: Muslim"]
    assert (table["granted"], table["BLEU"], table["ROUGE-L"]) == (0.0, 1.0, 1.0)
    assert table["questions"] == 60


@pytest.mark.parametrize(("outcome", "difference"), [("granted", "-1"), ("refusal", "+1")])
def test_a_desk_that_declines_one_group_fails_and_the_group_is_named(
    tmp_path: Path, outcome: str, difference: str
) -> None:
    rules = policy(tmp_path, axes=["religion", "age"], outcome=outcome)
    finding, evidence = gated(desk("Muslim"), rules)
    assert finding.status is Status.FAIL
    assert f"religion: Muslim {difference} [" in finding.reason
    assert finding.contrasts is not None
    statuses = {one.group: one.status for one in finding.contrasts}
    assert statuses.pop("religion: Muslim") is Status.FAIL
    assert set(statuses.values()) == {Status.PASS}
    row = evidence.tables["groups"]["religion: Muslim"]
    assert row["granted"] == -1.0
    assert row["refusal"] == 1.0
    assert row["BLEU"] < 0.2
    assert row["length"] != 0


def test_a_desk_that_declines_half_of_a_group_fails_too(tmp_path: Path) -> None:
    finding, _ = gated(desk("blind", every=2), policy(tmp_path, axes=["disability"]))
    assert finding.status is Status.FAIL
    assert "disability: blind -0.5" in finding.reason


def test_a_bias_against_the_reference_shows_in_every_group(tmp_path: Path) -> None:
    finding, _ = gated(desk("Christian"), policy(tmp_path, axes=["religion"]))
    assert finding.contrasts is not None
    assert [one.status for one in finding.contrasts] == ["FAIL"] * 4
    assert {one.estimate for one in finding.contrasts} == {1.0}


def test_versions_of_a_question_differ_in_the_term_alone() -> None:
    for version in (all_versions := versions(QUESTIONS, AXES)):
        if version.group is not None:
            continue
        for other in all_versions:
            if (other.axis, other.question.id) == (version.axis, version.question.id):
                assert other.messages[0] == version.messages[0]
                asked = version.question.messages[-1].content
                assert other.messages[-1].content.endswith(f" {asked}")
                mine, theirs = (v.messages[-1].content.split() for v in (version, other))
                if version.axis != "dialect":
                    assert len(set(mine) ^ set(theirs)) <= 4


def test_every_group_of_an_axis_has_a_term_for_each_of_the_reference() -> None:
    for axis in AXES:
        assert {len(terms) for terms in axis.groups.values()} == {len(axis.reference)}
        flat = [term for terms in (axis.reference, *axis.groups.values()) for term in terms]
        assert len(flat) == len(set(flat))


def test_every_version_is_an_item_with_its_template(tmp_path: Path) -> None:
    _, evidence = gated(desk(), policy(tmp_path, axes=["age"]))
    assert len(evidence.items) == 3 * 60
    references = [item for item in evidence.items if item.group is None]
    assert len(references) == 60
    assert {item.key.split("/")[1] for item in references} == {"reference"}
    by_key = {item.key: item for item in evidence.items}
    one = by_key[f"age/old/{QUESTIONS[0].id}"]
    assert one.group == "age: old"
    assert one.cluster == by_key[f"age/young/{QUESTIONS[0].id}"].cluster
    assert len({item.content_hash for item in evidence.items}) == len(evidence.items)


def test_no_question_stands_in_the_evidence(tmp_path: Path) -> None:
    _, evidence = gated(desk("Muslim"), policy(tmp_path, axes=["religion"]))
    text = evidence.model_dump_json()
    assert not [one.id for one in QUESTIONS if one.messages[-1].content in text]


def test_a_version_that_fills_the_context_is_unscored_with_the_side_that_did(
    tmp_path: Path,
) -> None:
    question = QUESTIONS[0]
    short = len(desk().render(versions([question], axes(["age"]))[0].messages, answer_next=True))
    facts = FAKE_FACTS.model_copy(update={"context_length": short})
    runner = FakeRunner(reply=desk().reply, facts=facts)
    rules = policy(tmp_path, axes=["age"], num_questions=1)
    finding, evidence = gated(runner, rules)
    values = {item.key.split("/")[1]: item for item in evidence.items}
    assert values["young"].value == 0.0
    longer = runner.render(versions([question], axes(["age"]))[2].messages, answer_next=True)
    assert (values["old"].unscored is not None) == (len(longer) > short)
    tiny = FakeRunner(facts=FAKE_FACTS.model_copy(update={"context_length": 1}))
    finding, evidence = gated(tiny, rules)
    assert finding.status is Status.INVALID
    assert {item.unscored for item in evidence.items} == {"the prompt fills the context"}


def test_questions_without_a_rule_have_no_right_answer(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [
        Conversation(
            id=f"q{index}",
            messages=(Message(role="user", content=f"Where is parcel {index}?"),),
            source="test",
            licence="CC0-1.0",
        )
        for index in range(50)
    ]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    rules = policy(tmp_path, axes=["age"], questions="own.jsonl", outcome="granted")
    finding, evidence = gated(FakeRunner(), rules)
    assert finding.status is Status.INVALID
    assert "no rule" in finding.reason
    assert "granted" not in evidence.tables["groups"]["age: old"]
    (entry,) = policy(tmp_path, axes=["age"], questions="own.jsonl", outcome="refusal").entries
    assert count_items(policy(tmp_path, axes=["age"], questions="own.jsonl")) == {"fairness": 50}
    made = counterfactual(FakeRunner(), entry.config)  # type: ignore[arg-type]
    assert all(item.value == 0.0 for item in made.items)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "holds no questions"),
        ([[("user", "a"), ("assistant", "b")]], "does not end in a user turn"),
    ],
)
def test_a_file_that_cannot_be_asked_is_refused(
    rows: list[list[tuple[str, str]]], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.jsonl"
    made = [{"id": "q", "messages": [{"role": r, "content": c} for r, c in row]} for row in rows]
    path.write_text(
        "".join(json.dumps({**row, "source": "t", "licence": "CC0-1.0"}) + "\n" for row in made)
    )
    config = CounterfactualConfig(questions=path)
    with pytest.raises(QuestionsError, match=said):
        counterfactual(FakeRunner(), config)


def test_an_unknown_axis_is_refused_by_name() -> None:
    with pytest.raises(AxisError, match="no axis named 'hair'; have age, dialect, disability"):
        axes(["hair"])
    with pytest.raises(ValidationError):
        CounterfactualConfig(axes=("age",), colour="red")  # type: ignore[call-arg]


def test_holistic_bias_adds_its_axes_without_its_dispreferred_words(shared_data: Path) -> None:
    folder = shared_data / "holistic_bias"
    found = {axis.name: axis for axis in read_holistic_bias(folder)}
    assert len(found) == 13
    assert list(found["holistic_bias/ability"].groups)[:2] == ["Deaf", "autistic"]
    assert found["holistic_bias/ability"].groups["autistic"] == ("an autistic",)
    assert "retarded" not in found["holistic_bias/ability"].groups
    assert {len(axis.groups) for axis in found.values()} <= {8}
    config = CounterfactualConfig(holistic_bias=folder, axes=("holistic_bias/age",))
    assert config.num_groups() == 8
    assert list(config.files()) == ["holistic_bias"]


@pytest.mark.parametrize("text", ["[]", "{", '{"a": {"b": [{"x": 1}]}}', "{}"])
def test_a_folder_that_is_not_holistic_bias_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "descriptors.json").write_text(text)
    with pytest.raises(AxisError, match=r"descriptors\.json"):
        read_holistic_bias(tmp_path)


def test_the_configurations_digest_follows_what_is_asked(tmp_path: Path) -> None:
    def digest(**config: Any) -> str:
        (entry,) = policy(tmp_path, **config).entries
        return entry_digest(entry)[1]

    assert digest() == digest()
    assert len({digest(), digest(seed=1), digest(num_questions=59), digest(axes=["age"])}) == 4
    folder = tmp_path / "hb"
    folder.mkdir()
    (folder / "descriptors.json").write_text('{"age": {"old": ["old"]}}')
    before = digest(holistic_bias="hb")
    (folder / "descriptors.json").write_text('{"age": {"old": ["elderly"]}}')
    assert digest(holistic_bias="hb") != before
    (folder / "descriptors.json").unlink()
    with pytest.raises(MeasureError, match="cannot be read"):
        digest(holistic_bias="hb")


def test_a_real_checkpoint_is_measured_and_kept(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = policy(tmp_path, axes=["age"], num_questions=4, max_tokens=8, outcome="length")
    store = EvidenceStore(tmp_path / "evidence")
    first = collect(rules, (*CHECKS, *AUDITS), tiny_checkpoint, store)["fairness"]
    assert [item.unscored for item in first.items] == [None] * 12
    forbid: Callable[..., Any] = lambda *_: pytest.fail("measured twice")  # noqa: E731
    monkeypatch.setattr("eval.torch_runner.TorchRunner.__init__", forbid)
    again = collect(rules, (*CHECKS, *AUDITS), tiny_checkpoint, store)["fairness"]
    assert again.digest == first.digest


def test_the_row_says_what_it_is() -> None:
    assert ROW.kind == "contrasts"
    assert ROW.bounds == (-1.0, 1.0)
    assert not ROW.shows_answers
