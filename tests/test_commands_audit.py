"""`hallmark audit` and the suites it ships: judged as a gate would, and never signed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import hallmark
from audit.checks import AUDITS
from audit.instruments import PAGE, with_table
from audit.report import AuditReport
from commands import measuring, timing
from commands.audit import SUITES, open_suite, shipped_suites
from commands.policies import ALL_CHECKS
from commands.session import Session
from commands.timing import estimate
from eval.gate import load_policy
from eval.plan import count_items, plan
from eval.resume import LocalPool
from eval.runner import Answer, Continuation, FakeRunner, Sampling
from registry.conversation import Message
from registry.home import Home
from registry.ledger import Ledger
from tests.measuring import PAIRS


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., str]:
    """``suite({...}, {...})``: a suite file of PAIRS with these changes, an entry for each."""

    def write(*changes: dict[str, Any]) -> str:
        path = tmp_path / "mine.yaml"
        entries = [PAIRS | change for change in changes]
        path.write_text(yaml.safe_dump({"name": "mine", "entries": entries}))
        return str(path)

    return write


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A command in a home of its own: its exit code, what it printed, what it said."""

    def command(*arguments: str) -> tuple[int, str, str]:
        code = hallmark.main(["--home", str(home.root), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, " ".join(captured.err.split())

    return command


Run = Callable[..., tuple[int, str, str]]


def test_an_audit_writes_its_reports_and_signs_and_records_nothing(
    run: Run, suite: Callable[..., str], tiny_checkpoint: Path, home: Home, tmp_path: Path
) -> None:
    out = tmp_path / "reports"
    code, _, said = run("audit", str(tiny_checkpoint), "--suite", suite({}), "--out", str(out))
    assert code == 0, said
    assert {path.name for path in out.iterdir()} == {"audit.json", "audit.md", "audit.html"}
    assert "1 of 1 entries to measure, about" in said
    assert "nothing was signed" in said
    report = AuditReport.model_validate_json((out / "audit.json").read_text())
    assert report.verdict.findings[0].n == 60
    assert (tiny_checkpoint / "hallmark.json").exists() is False
    assert Ledger(home.ledger_url).verdicts(report.verdict.candidate_digest) == []
    assert not home.keys.exists()


def test_the_gate_uses_an_audits_evidence_and_a_second_audit_measures_nothing(
    run: Run,
    suite: Callable[..., str],
    tiny_checkpoint: Path,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = suite({})
    code, first, _ = run("audit", str(tiny_checkpoint), "--suite", path, "--json")
    assert code == 0

    def refuse(folder: Path) -> object:
        raise AssertionError(f"{folder} was loaded again")

    monkeypatch.setattr(measuring, "open_pool", refuse)
    code, second, said = run("audit", str(tiny_checkpoint), "--suite", path, "--json")
    assert code == 0
    assert "everything is measured already" in said
    digests = [json.loads(text)["verdict"]["evidence_digests"] for text in (first, second)]
    assert digests[0] == digests[1]
    code, gated, said = run("gate", str(tiny_checkpoint), "--policy", path, "--json")
    assert code == 0, said
    assert json.loads(gated)["evidence_digests"] == digests[0]


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"limit": {"max": 0.001}}, 1, "FAIL"),
        ({"min_items": 61}, 2, "INCONCLUSIVE"),
        ({"tier": "advisory"}, 3, "INVALID"),
    ],
)
def test_exit_codes_are_the_gates(
    run: Run,
    suite: Callable[..., str],
    tiny_checkpoint: Path,
    change: dict[str, Any],
    code: int,
    status: str,
) -> None:
    found, printed, _ = run("audit", str(tiny_checkpoint), "--suite", suite(change), "--json")
    assert (found, json.loads(printed)["verdict"]["status"]) == (code, status)


@pytest.mark.parametrize("changes", [({"min_items": 61},), ({"tier": "advisory"},)])
def test_why_it_is_no_pass_is_said_once(
    run: Run, suite: Callable[..., str], tiny_checkpoint: Path, changes: tuple[dict[str, Any]]
) -> None:
    folder, policy = str(tiny_checkpoint), suite(*changes)
    _, printed, _ = run("audit", folder, "--suite", policy, "--json")
    (reason,) = json.loads(printed)["verdict"]["reasons"]
    reason = reason.removeprefix("pairs: INCONCLUSIVE: ")
    for command in (("audit", folder, "--suite", policy), ("gate", folder, "--policy", policy)):
        _, _, said = run(*command)
        assert said.count(reason) == 1, said


def test_the_gate_says_once_that_a_checkpoint_cannot_be_judged_against_itself(
    run: Run, suite: Callable[..., str], tiny_checkpoint: Path
) -> None:
    folder, policy = str(tiny_checkpoint), suite({}, {"name": "more"})
    assert run("trust", "policy", "--policy", policy)[0] == 0
    assert run("gate", folder, "--policy", policy)[0] == 0
    assert run("promote", folder)[0] == 0
    code, _, said = run("gate", folder, "--policy", policy)
    assert code == 3
    assert said.count("cannot be judged against itself") == 1, said


def test_a_bar_that_had_nothing_to_do_is_not_shown(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session.open(home.root, None)
    with session.progress("looking", "bytes"):
        pass
    assert capsys.readouterr().err.strip() == ""
    with session.progress("looking", "bytes") as advance:
        advance(3, 3)
    assert "3/3 bytes" in capsys.readouterr().err


def test_an_alias_is_compared_with_and_an_unknown_one_is_an_error(
    run: Run,
    suite: Callable[..., str],
    tiny_checkpoint: Path,
    make_tiny_checkpoint: Callable[..., Path],
    home: Home,
) -> None:
    from registry.checkpoint import read_manifest

    other = make_tiny_checkpoint("other", seed=5)
    path = suite({"margin": 0.9})
    assert run("audit", str(other), "--suite", path)[0] == 0
    digest = read_manifest(other).weights_digest
    Ledger(home.ledger_url).set_alias("stable", digest, by="test", reason="test")
    arguments = ("audit", str(tiny_checkpoint), "--suite", path, "--against")
    code, printed, _ = run(*arguments, "stable", "--json")
    assert code == 0
    finding = json.loads(printed)["verdict"]["findings"][0]
    assert finding["baseline"] is not None
    assert finding["margin"] == 0.9
    code, _, said = run(*arguments, "nobody")
    assert code == 4
    assert "no alias named 'nobody'" in said


def test_what_has_no_data_is_left_out_and_said_unless_it_is_required(
    run: Run, suite: Callable[..., str], tiny_checkpoint: Path
) -> None:
    missing = {"name": "crows", "config": {"pairs": "dataset:crows_pairs/pairs"}}
    path = suite({}, missing | {"tier": "advisory"})
    code, printed, said = run("audit", str(tiny_checkpoint), "--suite", path, "--json")
    assert code == 0
    needs = "needs dataset:crows_pairs/pairs, which is not registered"
    assert json.loads(printed)["left_out"] == [{"entry": "crows", "needs": needs}]
    assert f"not measured: crows {needs}" in said
    code, _, said = run("audit", str(tiny_checkpoint), "--suite", suite({}, missing))
    assert code == 4
    assert "entry crows needs dataset:crows_pairs/pairs" in said
    assert "hallmark data" in said


def test_a_suite_that_is_not_there_is_named_with_those_that_are(
    run: Run, tiny_checkpoint: Path
) -> None:
    code, _, said = run("audit", str(tiny_checkpoint), "--suite", "thorough")
    assert code == 4
    assert "no suite named 'thorough'; have full, quick" in said


@pytest.mark.parametrize("name", ["quick", "full"])
def test_a_shipped_suite_decides_by_limits_with_the_power_it_promises(
    name: str, tmp_path: Path
) -> None:
    policy = load_policy(SUITES / f"{name}.yaml", ALL_CHECKS, lambda wanted: tmp_path / wanted)
    assert all(entry.rule.limit is not None for entry in policy.required)
    sizes = count_items(policy)  # of data that is not there, the least that may decide
    for entry in policy.entries:
        if "dataset:" in str(entry.rule.config):
            sizes[entry.name] = entry.rule.config.get("max_items", sizes[entry.name])
    planned = plan(policy, sizes)
    assert [row.refused for row in planned.rows if row.tier == "required"].count(None) == len(
        policy.required
    )
    assert planned.power is not None
    assert planned.power >= policy.written.power


def test_the_shipped_suites_are_those_that_help_and_documentation_name() -> None:
    assert shipped_suites() == ["full", "quick"]
    first = re.compile(r"# yaml-language-server: \$schema=\.\./\.\./docs/schemas/policy")
    assert all(first.match(path.read_text()) for path in SUITES.glob("*.yaml"))


class Slow(FakeRunner):
    """Two milliseconds for each sentence, five for an answer, fifty for a completion, which knows
    no end: by a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def continuations(self, requests: Sequence[tuple[str, str]]) -> list[Continuation]:
        self.now += 0.002 * len(requests)
        return super().continuations(requests)

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[Answer]:
        self.now += 0.005 * len(dialogues)
        return [Answer("yes")] * len(dialogues)

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> list[Answer]:
        self.now += 0.05 * len(prompts)
        return super().completions(prompts, sampling)

    def monotonic(self) -> float:
        return self.now


def test_the_estimate_is_the_probes_pace_times_what_is_asked_for_once(
    home: Home, suite: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Slow()
    monkeypatch.setattr(timing, "time", runner)
    session = Session.open(home.root, None)
    one, _ = open_suite(session, suite({}))
    sentences = 120 - 1  # of sixty pairs; one sentence stands in two of them
    assert estimate(one.entries, LocalPool(runner)) == pytest.approx(0.002 * sentences)
    # twenty of the sixty again, by another entry, cost nothing
    two, _ = open_suite(session, suite({}, {"name": "fewer", "config": {"max_pairs": 20}}))
    assert estimate(two.entries, LocalPool(runner)) == pytest.approx(0.002 * sentences)


def test_the_estimate_probes_answers_by_answers(
    home: Home, suite: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Slow()
    monkeypatch.setattr(timing, "time", runner)
    declined = {"check": "over_refusal", "config": {"max_tokens": 64}}
    one, _ = open_suite(Session.open(home.root, None), suite(declined))
    assert estimate(one.entries, LocalPool(runner)) == pytest.approx(0.005 * 280)


def test_the_page_on_audits_has_the_row_of_every_instrument() -> None:
    page = PAGE.read_text()
    assert with_table(page) == page, "AUDITS changed: run python -m audit.instruments"
    assert [row.name for row in AUDITS if f"| `{row.name}` |" not in page] == []
