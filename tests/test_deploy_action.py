"""The GitHub Action: its files hold, and its shell steps run against a stub of `hallmark`."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import hallmark

ROOT = Path(__file__).resolve().parent.parent
ACTION = ROOT / "deploy" / "action"
BIN = Path(sys.executable).parent
VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "INVALID", "ERROR")

# What `hallmark gate` leaves behind: a folder of reports, and its exit code.
HALLMARK = """#!/usr/bin/env bash
printf '%s\\n' "$@" >"$STUB/arguments"
env | grep -c SIGNING >"$STUB/secrets"
[ -e "$HALLMARK_HOME/keys/local.pem" ] && cp "$HALLMARK_HOME/keys/local.pem" "$STUB/key"
words=(PASS FAIL INCONCLUSIVE INVALID)
if [ "$STUB_CODE" -lt 4 ] && [ -z "$STUB_SILENT" ]; then
    folder="$HALLMARK_HOME/reports/candidate-20260102T030405"
    mkdir -p "$folder"
    printf '{\\n  "schema_version": 1,\\n  "status": "%s",\\n' "${words[STUB_CODE]}" \\
        >"$folder/verdict.json"
    printf '%s\\n' "# ${words[STUB_CODE]}: \\`aa\\` against champion \\`bb\\`" '' \\
        '| entry |' '|---|' '| task |' '' '## Why' '' '- so' '' \\
        '## Where to look next' '' 'There.' '' '## task: FAIL' '' 'details' >"$folder/report.md"
fi
exit "$STUB_CODE"
"""

# `gh api`, as far as the action uses it: comments are files, and the calls are kept.
GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$STUB/calls"
[ -z "$STUB_REFUSED" ] || exit 1
case "$*" in
*--paginate*) cat "$STUB/comments" 2>/dev/null || true ;;
*PATCH*) [ -z "$STUB_NOT_MINE" ] || exit 1 ;;
esac
for word in "$@"; do
    case $word in body=@*) cp "${word#body=@}" "$STUB/body" ;; esac
done
"""


@dataclass
class Runner:
    """A job's step as GitHub runs it: bash, files for outputs and summary, the step's env."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def step(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(ACTION / script)],
            cwd=self.root,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def gate(self, code: int, **env: str) -> subprocess.CompletedProcess[str]:
        return self.step("gate.sh", STUB_CODE=str(code), **env)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    @property
    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.read("output").splitlines())


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("hallmark", HALLMARK), ("gh", GH)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("output", "summary", "path"):
        (tmp_path / name).touch()
    return Runner(
        tmp_path,
        {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "STUB": str(tmp_path), "STUB_SILENT": "", "STUB_REFUSED": "", "STUB_NOT_MINE": "",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": "team/models", "GITHUB_RUN_ID": "77",
            "HALLMARK_HOME": "home of ours",
            "GATE_CHECKPOINT": "candidate 1", "GATE_POLICY": "policies/ours.yaml",
            "GATE_AGAINST": "champion", "GATE_EXTRA": "", "GATE_INCONCLUSIVE": "fail",
        },
    )  # fmt: skip


@pytest.mark.parametrize("code", range(4))
def test_each_verdict_gives_its_outputs_and_the_summary(runner: Runner, code: int) -> None:
    outcome = runner.gate(code)
    assert outcome.returncode == 0, outcome.stderr
    assert runner.outputs == {
        "verdict": VERDICTS[code],
        "exit-code": str(code),
        "reports": "home of ours/reports/candidate-20260102T030405",
        "artifact": "hallmark-candidate-20260102T030405",
    }
    assert runner.read("summary").startswith(f"# {VERDICTS[code]}: `aa` against champion `bb`")
    assert "details" in runner.read("summary")


@pytest.mark.parametrize("code", [4, 127, 137])
def test_an_error_is_no_verdict(runner: Runner, code: int) -> None:
    assert runner.gate(code).returncode == 0
    assert (runner.outputs["verdict"], runner.outputs["reports"]) == ("ERROR", "")
    assert f"hallmark gate ended with {code}" in runner.read("summary")


@pytest.mark.parametrize("code", range(4))
def test_an_exit_code_without_a_report_that_says_the_same_is_an_error(
    runner: Runner, code: int
) -> None:
    """A crash can end with any code, and an earlier run's report proves nothing."""
    assert runner.gate(code).returncode == 0
    (runner.root / "output").write_text("")
    outcome = runner.gate(code, STUB_SILENT="yes")
    assert runner.outputs["verdict"] == "ERROR"
    assert f"no report that says {VERDICTS[code]}" in outcome.stdout


def test_arguments_reach_the_command_as_they_are_and_it_has_them(runner: Runner) -> None:
    runner.gate(0, GATE_EXTRA="--json  --flag\n$(touch owned)")
    assert runner.read("arguments").splitlines() == [
        "gate", "candidate 1", "--against", "champion", "--policy", "policies/ours.yaml",
        "--json", "--flag", "$(touch", "owned)",
    ]  # fmt: skip
    assert not (runner.root / "owned").exists()
    (command,) = [
        c.callback
        for c in hallmark.app.registered_commands
        if c.callback and "gate" in (c.name, c.callback.__name__)
    ]
    assert {"checkpoint", "against", "policy"} <= set(inspect.signature(command).parameters)


def test_the_signing_key_is_there_for_the_run_alone_and_not_in_its_environment(
    runner: Runner,
) -> None:
    runner.gate(0, GATE_SIGNING_KEY="-----BEGIN")
    assert runner.read("key") == "-----BEGIN\n"
    assert (runner.root / "key").stat().st_mode & 0o077 == 0
    assert runner.read("secrets") == "0\n"
    assert not (runner.root / "home of ours/keys/local.pem").exists()


def test_a_home_with_a_key_refuses_another_and_keeps_its_own(runner: Runner) -> None:
    key = runner.root / "home of ours/keys/local.pem"
    key.parent.mkdir(parents=True)
    key.write_text("mine")
    outcome = runner.gate(0, GATE_SIGNING_KEY="theirs")
    assert outcome.returncode == 4
    assert "leave signing-key empty" in outcome.stdout
    assert key.read_text() == "mine"


def test_a_word_that_inconclusive_does_not_know_is_refused_before_measuring(runner: Runner) -> None:
    assert runner.gate(0, GATE_INCONCLUSIVE="maybe").returncode == 4
    assert not (runner.root / "arguments").exists()


@pytest.mark.parametrize(
    ("verdict", "inconclusive", "code", "kind", "said"),
    [
        ("PASS", "fail", 0, "notice", "every required entry passed"),
        ("FAIL", "neutral", 1, "error", "worse than the policy accepts"),
        ("INCONCLUSIVE", "fail", 2, "error", "do not decide it"),
        ("INCONCLUSIVE", "neutral", 0, "warning", "do not decide it"),
        ("INVALID", "neutral", 3, "error", "missing or not comparable"),
        ("ERROR", "neutral", 4, "error", "judged nothing (exit code 4)"),
        ("", "neutral", 4, "error", "judged nothing"),
    ],
)
def test_the_job_ends_as_the_verdict_says(
    runner: Runner, verdict: str, inconclusive: str, code: int, kind: str, said: str
) -> None:
    outcome = runner.step(
        "status.sh", GATE_VERDICT=verdict, GATE_EXIT_CODE="4", GATE_INCONCLUSIVE=inconclusive
    )
    assert outcome.returncode == code
    (line,) = outcome.stdout.splitlines()
    assert line.startswith(f"::{kind} title=Hallmark gate: {verdict or 'ERROR'}::")
    assert said in line


def comment(runner: Runner, **env: str) -> subprocess.CompletedProcess[str]:
    found = runner.outputs
    return runner.step(
        "comment.sh",
        GATE_PULL_REQUEST="5",
        GATE_VERDICT=found["verdict"],
        GATE_REPORTS=found["reports"],
        **env,
    )


def test_the_first_comment_is_made_with_the_summary_and_the_link(runner: Runner) -> None:
    runner.gate(1)
    assert comment(runner).returncode == 0
    body = runner.read("body")
    assert body.startswith("<!-- hallmark-gate ")
    link = "(https://github.example/team/models/actions/runs/77)"
    for part in ("# FAIL: `aa`", "| task |", "- so", "There.", link):
        assert part in body
    assert "details" not in body
    first, last = runner.read("calls").splitlines()
    assert "--paginate repos/team/models/issues/5/comments" in first
    assert "--method POST repos/team/models/issues/5/comments" in last


def test_an_earlier_comment_of_the_same_policy_is_updated(runner: Runner) -> None:
    runner.gate(0)
    (runner.root / "comments").write_text("901\n902\n")
    assert comment(runner).returncode == 0
    looked, *rest = runner.read("calls").splitlines()
    marker = runner.read("body").splitlines()[0]
    assert f'startswith("{marker}")' in looked
    (changed,) = rest
    assert "--method PATCH repos/team/models/issues/comments/901" in changed
    (runner.root / "calls").unlink()
    comment(runner, GATE_POLICY="policies/other.yaml")
    assert marker not in runner.read("calls")


def test_somebody_elses_comment_with_the_marker_does_not_silence_ours(runner: Runner) -> None:
    runner.gate(0)
    (runner.root / "comments").write_text("901\n")
    assert comment(runner, STUB_NOT_MINE="yes").returncode == 0
    assert "--method POST" in runner.read("calls").splitlines()[-1]


def test_an_error_is_commented_too(runner: Runner) -> None:
    runner.gate(4)
    assert comment(runner).returncode == 0
    assert "# ERROR: nothing was judged" in runner.read("body")


def test_a_comment_that_is_refused_is_a_warning(runner: Runner) -> None:
    runner.gate(0)
    outcome = comment(runner, STUB_REFUSED="yes")
    assert outcome.returncode == 0
    assert outcome.stdout.startswith("::warning title=Hallmark gate::")


def test_installing_leaves_the_command_on_the_path_of_later_steps(
    runner: Runner, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ACTION, checkout / "deploy" / "action")
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "install.sh").write_text(f"touch {tmp_path}/installed\n")
    assert (ROOT / "requirements" / "install.sh").is_file()
    subprocess.run(
        ["bash", str(checkout / "deploy/action/install.sh")],
        env={**runner.env, "GITHUB_PATH": str(tmp_path / "path")},
        check=True,
    )
    assert (tmp_path / "installed").exists()
    assert runner.read("path") == f"{checkout}/.venv/bin\n"


def action() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text())
    return loaded


def test_steps_read_only_inputs_and_outputs_that_there_are_and_scripts_that_exist() -> None:
    text = (ACTION / "action.yml").read_text()
    described = action()
    used = set(re.findall(r"inputs\.([a-z-]+)", text))
    assert used == set(described["inputs"])
    for step in described["runs"]["steps"]:
        if "run" in step:
            script = step["run"].removeprefix('bash "$GITHUB_ACTION_PATH/').removesuffix('"')
            assert (ACTION / script).is_file()
            assert "${{" not in step["run"]  # no input becomes code


def test_the_example_gives_only_inputs_that_the_action_has() -> None:
    example = yaml.safe_load((ACTION / "example-workflow.yml").read_text())
    (step,) = [
        step
        for step in example["jobs"]["gate"]["steps"]
        if "deploy/action@" in step.get("uses", "")
    ]
    assert set(step["with"]) <= set(action()["inputs"])


def checked(*command: str) -> None:
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_the_shell_scripts_pass_shellcheck() -> None:
    scripts = sorted(map(str, ACTION.glob("*.sh")))
    assert len(scripts) == 4
    checked(str(BIN / "shellcheck"), *scripts)


@pytest.mark.parametrize(
    ("schema", "name"),
    [("vendor.github-actions", "action.yml"), ("vendor.github-workflows", "example-workflow.yml")],
)
def test_the_files_follow_githubs_own_schemas(schema: str, name: str) -> None:
    checked(str(BIN / "check-jsonschema"), "--builtin-schema", schema, str(ACTION / name))


def test_the_files_pass_a_security_audit_of_actions(tmp_path: Path) -> None:
    """zizmor: no input in code, every action by its hash, no permission too many."""
    workflows = tmp_path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    shutil.copy(ACTION / "example-workflow.yml", workflows / "gate.yml")
    shutil.copy(ACTION / "action.yml", tmp_path / "action.yml")
    files = (str(tmp_path / "action.yml"), str(workflows / "gate.yml"))
    checked(str(BIN / "zizmor"), "--offline", "--no-progress", *files)
