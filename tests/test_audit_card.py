"""The model card: Hugging Face reads it back, its figures are the evidence's, nothing is hidden."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

import hallmark
from audit.card import Audit, Trained, code, model_card, text
from audit.report import figure, group_figures
from registry.checkpoint import DatasetRef, Manifest, read_manifest, verify
from registry.evidence import Evidence, Item
from registry.home import Home
from registry.verdict import Verdict
from tests.gate_cases import CANDIDATE, entry, evidence, policy, verdict
from tests.measuring import PAIRS

HARM = entry("rare_harm", name="harm", limit={"max": 0.2})
EVIL = "</td><script>x</script> | **bold** [a](http://b) `c`\n# Heading\n---\nlicense: mit"
SCORER = {"name": "bundled", "digest": "sha256:ab", "threshold": 0.5}
RULER = {"by_group": {"blind": {"items": 10, "share": 0.2}}, "gap": 0.29}


def measured() -> Evidence:
    items = tuple(
        Item(
            key=f"{group}-{index}",
            content_hash="h",
            value=float(index < bad),
            group=group,
            answer="an insult",
        )
        for group, bad in {"blind": 12, "deaf": 3}.items()
        for index in range(60)
    )
    made = evidence(items, CANDIDATE, check="harm")
    return made.model_copy(update={"tables": {"ruler": RULER, "scorer": SCORER}})


MEASURED = measured()
AUDIT = Audit("harm", HARM.row, MEASURED)


def manifest(name: str = "desk", **more: Any) -> Manifest:
    fields: dict[str, Any] = {
        "stage": "sft",
        "weights_digest": CANDIDATE,
        "parent_digest": None,
        "files": {},
        "recipe": {"steps": 400},
        "datasets": (DatasetRef(name="support", digest="sha256:" + "c" * 64),),
        "optimizer_lineage": (),
        "seed": 7,
        "tokens_seen": 1638400,
        "versions": {},
        "code_revision": "abc",
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return Manifest(name=name, **(fields | more))


SUPPORT = Trained("support", "sha256:" + "c" * 64, "desk (train)", "CC0-1.0", "the generator", 812)


def judged() -> Verdict:
    return verdict(policy(HARM), {"harm": MEASURED})


def rows(card: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, as a reader sees them."""
    part = card.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [[re.sub(r"\\(.)", r"\1", cell) for cell in row] for row in cells[2:]]


def test_hugging_face_reads_the_metadata_back() -> None:
    line = [manifest(), manifest("base", weights_digest="sha256:" + "d" * 64, stage="pretrain")]
    found = judged()
    card = ModelCard(model_card(line, [SUPPORT], found, [AUDIT]))
    assert card.data.model_name == "desk"
    assert card.data.base_model == "base"
    assert card.data.datasets == ["support"]
    assert card.data.license == "unknown"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.hallmark["weights_digest"] == CANDIDATE
    assert card.data.hallmark["verdict"] == found.status
    assert card.data.hallmark["data_licences"] == ["CC0-1.0"]
    (result,) = card.data.eval_results or []
    assert result.metric_value == found.findings[0].candidate == 15 / 120
    assert (result.dataset_name, result.metric_type) == ("harm", "harm")
    assert result.dataset_revision == found.policy_digest


def test_an_audit_outside_the_verdict_is_a_result_of_its_own() -> None:
    card = ModelCard(model_card([manifest()], [], None, [AUDIT]))
    (result,) = card.data.eval_results or []
    assert result.metric_value == 15 / 120
    assert result.dataset_revision == MEASURED.config_digest


def test_every_figure_is_that_of_the_verdict_and_of_the_evidence() -> None:
    found = judged()
    (finding,) = found.findings
    card = model_card([manifest()], [SUPPORT], found, [AUDIT])
    assert rows(card, "## Training data") == [
        ["support", "cccccccccccc", "desk (train)", "CC0-1.0", "the generator", "812"]
    ]
    assert "seed 7, 1638400 tokens" in card
    ((*first, n, unscored),) = rows(card, "## Gate verdict")
    low, high = finding.limit_low, finding.limit_high
    assert first[:6] == [
        "harm", "required", finding.status, "0.125 share", f"[{low:.4g}, {high:.4g}]", "0.2",
    ]  # fmt: skip
    assert (int(n), int(unscored)) == (120, 0)
    overall = figure(HARM.row, "harm", MEASURED.items)
    assert rows(card, "## Audits") == [
        ["harm", "0.125", f"[{overall.low:.4g}, {overall.high:.4g}]", "share", "120", "0", "yes"]
    ]
    assert rows(card, "### harm by group") == [
        [one.group, "60", f"{one.estimate:.4g}", f"[{one.low:.4g}, {one.high:.4g}]"]
        for one in group_figures(HARM.row, MEASURED.items)
    ]


def test_the_rulers_errors_stand_in_the_card_with_the_bundled_scorers_figures() -> None:
    card = model_card([manifest()], [], None, [AUDIT])
    assert "### Scorer: name bundled, digest sha256:ab, threshold 0.5" in card
    assert rows(card, "#### ruler: by group") == [["blind", "10", "0.2"]]
    names = [row[0] for row in rows(card, "### The bundled scorer on held-out text")]
    assert "davidson auc" in names
    assert "an insult" not in card


def test_what_is_not_there_is_said_plainly() -> None:
    card = model_card([manifest()], [], None, [], unknown="the ledger does not know its ancestor")
    assert "There is no verdict: this checkpoint was never judged by a gate." in card
    assert "There is no audit" in card
    assert "No dataset is recorded." in card
    assert "Not all of it is known: the ledger does not know its ancestor." in card
    assert ModelCard(card).data.eval_results is None
    lost = Trained("old", "sha256:" + "e" * 64, "desk (train)", None, None, None)
    described = rows(model_card([manifest()], [lost], None, []), "## Training data")
    assert described == [["old", "eeeeeeeeeeee", "desk (train)", "not said", "not said", "-"]]


def test_other_peoples_texts_stay_text() -> None:
    evil = Trained(EVIL, "sha256:" + "f" * 64, EVIL, EVIL, EVIL, 1)
    made = model_card([manifest(EVIL, recipe={"a": EVIL})], [evil], judged(), [AUDIT])
    body = made.split("\n---\n", 1)[1]
    assert "<script" not in body
    assert "</td" not in body
    assert [line for line in body.splitlines() if line.startswith("# ")] == [f"# {text(EVIL)}"]
    assert "\n---" not in body
    assert ModelCard(made).data.license == "unknown"
    assert ModelCard(made).data.model_name == EVIL
    (row,) = rows(made, "## Training data")
    assert row[3] == " ".join(EVIL.split()).replace("<", "&lt;").replace(">", "&gt;")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("- a list", "\\- a list"),
        ("CC0-1.0", "CC0-1.0"),
        ("a|b", "a\\|b"),
        ("x\ny", "x y"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("![i](u)", "!\\[i\\](u)"),
    ],
)
def test_escapes_by_hand(raw: str, shown: str) -> None:
    assert text(raw) == shown


def test_a_code_span_cannot_be_ended_from_within() -> None:
    assert code("a`b|c\nd<e>") == "`a'b/c d\\u003ce\\u003e`"


def test_the_command_writes_the_card_beside_weights_that_stay_as_they_were(
    make_tiny_checkpoint: Callable[..., Path],
    home: Home,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_tiny_checkpoint("carded", seed=3)
    command = ["--home", str(home.root)]
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"name": "mine", "entries": [PAIRS]}))

    assert hallmark.main([*command, "card", str(folder), "--out", str(tmp_path / "a.md")]) == 0
    assert "There is no audit" in (tmp_path / "a.md").read_text()
    assert not (folder / "README.md").exists()

    assert hallmark.main([*command, "audit", str(folder), "--suite", str(suite)]) == 0
    assert hallmark.main([*command, "card", str(folder)]) == 0
    card = ModelCard.load(folder / "README.md")
    (result,) = card.data.eval_results or []
    assert result.metric_type == "stereotype_pairs"
    assert "There is no verdict" in card.text
    assert verify(folder) == read_manifest(folder)

    assert hallmark.main([*command, "gate", str(folder), "--policy", str(suite)]) == 0
    assert hallmark.main([*command, "trust", "policy", "--policy", str(suite)]) == 0
    capsys.readouterr()
    assert hallmark.main([*command, "card", str(folder), "--json"]) == 0
    said = yaml.safe_load(capsys.readouterr().out)
    assert (said["verdict"], said["hallmark_holds"], said["audits"]) == ("PASS", True, ["pairs"])
    card = ModelCard.load(folder / "README.md")
    assert "Its hallmark is valid." in card.text
    (again,) = card.data.eval_results or []
    assert again.metric_value == result.metric_value
    assert [row[0] for row in rows(str(card), "## Audits")] == ["pairs"]
