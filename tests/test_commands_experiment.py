"""`hallmark experiment`: start, stop, status and simulate, as a person runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands.session import Session
from hallmark import main
from registry.checkpoint import weights_digest
from registry.experiments import ExperimentEvent
from serve.experiment_desk import declare
from serve.experiment_files import parse_design
from tests.ledgers import request, thumb

DESIGN = {
    "name": "spring",
    "variants": [{"name": "a", "checkpoint": "one"}, {"name": "b", "checkpoint": "two"}],
    "guardrails": [{"metric": "errors", "margin": 0.02}],
    "segments": {"plan": ["free", "paid"]},
}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    opened = Session.open(tmp_path / "home", None)
    arms = [{"name": name, "checkpoint": weights_digest({}), "weight": 1.0} for name in "ab"]
    design = parse_design(DESIGN, where="test").model_dump(mode="json")
    body = {"model_name": "m", "salt": "spring", "variants": arms, "design": design}
    opened.ledger.record_experiment("spring", body)
    opened.ledger.record_experiment("plain", {key: body[key] for key in body if key != "design"})
    yield opened
    opened.ledger.close()


def run(session: Session, *arguments: str) -> int:
    return main(["--home", str(session.home.root), "experiment", *arguments])


def kinds(session: Session) -> list[tuple[str, str | None]]:
    return [(e.kind, e.variant) for e in session.ledger.experiment_events("spring")]


def test_start_and_stop_are_written_for_the_servers_to_follow(session, capsys):
    assert run(session, "start", "spring", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "start"
    assert run(session, "stop", "spring", "--variant", "b", "--reason", "rude") == 0
    assert run(session, "stop", "spring") == 0
    assert kinds(session) == [("start", None), ("stop", "b"), ("stop", None)]
    reason = session.ledger.experiment_events("spring")[1].reason
    assert reason.startswith("rude (")


def test_a_second_start_is_a_new_run(session):
    run(session, "start", "spring")
    run(session, "start", "spring")
    keys = [event.key for event in session.ledger.experiment_events("spring")]
    assert keys == ["spring/1/start", "spring/2/start"]


def test_only_a_pause_can_be_ended_without_a_new_run(session, capsys):
    run(session, "start", "spring")
    assert run(session, "start", "spring", "--variant", "b") == 4
    assert "gets its units, so there is no pause to end" in capsys.readouterr().err
    pause = ExperimentEvent(
        key="p", experiment="spring", kind="pause", variant="b", reason="r", at=datetime.now(UTC)
    )
    session.ledger.record_experiment_event(pause)
    assert run(session, "start", "spring", "--variant", "b") == 0
    assert kinds(session)[-1] == ("resume", "b")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stop", "spring"), "is not running: it was never started; start it with hallmark"),
        (("stop", "autumn"), "no experiment named 'autumn'; have plain, spring"),
        (("start", "plain"), "declare it in a file to start and stop it"),
        (("stop", "plain"), "declare it in a file to start and stop it"),
        (("start", "none.yaml"), "experiment none.yaml cannot be read"),
        (("start", "spring", "--variant", "z"), "no challenger named 'z'; have b"),
        (("status", "autumn"), "no experiment named 'autumn'; have plain, spring"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(session, capsys, arguments, said):
    assert run(session, *arguments) == 4
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_status_shows_arms_segments_events_and_the_decision(session, capsys):
    run(session, "start", "spring")
    rows = [
        request(f"r{n}", experiment="spring", variant="ab"[n % 2], unit_digest=f"u{n}",
                started_at=datetime.now(UTC) + timedelta(seconds=n),
                segments={"plan": "paid" if n < 60 else "free"})
        for n in range(120)
    ]  # fmt: skip
    session.ledger.record_requests(rows)
    for row in rows:
        session.ledger.record_feedback(
            thumb(f"f{row.request_id}", row.request_id, value=1 if row.variant == "b" else -1)
        )
    capsys.readouterr()
    assert run(session, "status", "spring", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert [arm["units"] for arm in body["arms"]] == [60, 60]
    assert {row["segment"] for row in body["estimates"]} == {None, "plan=free", "plan=paid"}
    assert body["state"]["running"] is True
    assert body["events"][0]["kind"] == "start"
    assert body["response_balance_p"] is None
    assert run(session, "status", "spring") == 0
    err = capsys.readouterr().err
    assert "run 1: 100% of the units are in; switched off: nobody" in err
    assert "sample ratio p = 1.0000" in err


def test_a_new_run_is_read_out_without_the_answers_of_the_old_one(session, capsys):
    row = request("old", experiment="spring", started_at=datetime.now(UTC) - timedelta(hours=1))
    session.ledger.record_requests([row])
    run(session, "start", "spring")
    capsys.readouterr()
    run(session, "status", "spring", "--json")
    assert [arm["units"] for arm in json.loads(capsys.readouterr().out)["arms"]] == [0, 0]


def test_the_page_opens_offline_and_escapes_what_people_wrote(session, tmp_path):
    run(session, "start", "spring")
    run(session, "stop", "spring", "--variant", "b", "--reason", "<script>alert(1)</script>")
    page = tmp_path / "page.html"
    assert run(session, "status", "spring", "--out", str(page)) == 0
    text = page.read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "b is switched off (stop)" in text


def test_a_shadow_is_no_arm_and_is_shown_beside_the_answers_that_it_copied(session, capsys):
    shadow = {"name": "c", "checkpoint": "three", "shadow": 0.1}
    design = parse_design(DESIGN | {"variants": [*DESIGN["variants"], shadow]}, where="test")
    declare(session.ledger, design)
    run(session, "start", "spring")
    live = request("r", experiment="spring", started_at=datetime.now(UTC))
    copied = request("s", experiment="spring", started_at=datetime.now(UTC), variant="c",
                     excluded="shadow", shadow_of="r", completion_tokens=9)  # fmt: skip
    session.ledger.record_requests([live, copied])
    capsys.readouterr()
    assert run(session, "status", "spring", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert [arm["variant"] for arm in body["arms"]] == ["a", "b"]
    pairs = {pair["metric"]: pair["difference"] for pair in body["pairs"]}
    assert pairs == {"errors": 0.0, "completion_tokens": 2.0}


def test_status_of_an_undeclared_split_needs_no_design(session, capsys):
    assert run(session, "status", "plain", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["state"], body["decision"]) == (None, "continue")


def test_simulate_prints_every_rule_and_exits_with_one_where_a_promise_is_broken(session, capsys):
    assert run(session, "simulate", "--experiments", "10", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["rule"] for row in rows} == {"guardian", "read-out's sequence", "naive peeking"}
    assert {row["data"] for row in rows} >= {"A/A", "errors 1% -> 100%"}


def test_a_declared_experiment_s_variants_are_served_with_their_weights_and_shadows_with_none():
    from commands.serve import declared

    shadow = {"name": "c", "checkpoint": "sha256:00ff00ff", "shadow": 0.1}
    design = parse_design(DESIGN | {"variants": [*DESIGN["variants"], shadow]}, where="test")
    assert declared(design) == ("a=one:1.0", "b=two:1.0", "c=sha256:00ff00ff:0.0")
