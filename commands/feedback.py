"""`hallmark feedback` and `hallmark experiment`: what users said, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from commands.session import Session, print_json, table
from monitoring.experiments import ReadOut, read_out
from registry.records import UserError
from registry.served import AnswerWithFeedback
from train.preferences import export as export_files


def answers(session: Session, experiment: str | None) -> Iterable[AnswerWithFeedback]:
    for one in session.ledger.answers_with_feedback():
        if experiment is None or one.request.experiment == experiment:
            yield one


def export(session: Session, folder: Path, *, experiment: str | None, json: bool) -> int:
    counts = export_files(answers(session, experiment), folder)
    if json:
        print_json({**counts, "folder": str(folder)})
        return 0
    for name, count in counts.items():
        session.say(f"{name}: {count}")
    session.say(f"next: hallmark train prefer {folder} --parent champion --name next")
    return 0


def experiment(session: Session, name: str) -> ReadOut:
    body = session.ledger.experiment(name)
    if body is None:
        raise UserError(
            f"no experiment named {name!r}; one is recorded when the server starts: "
            "hallmark serve --experiment NAME --variant a=... --variant b=..."
        )
    weights = {v["name"]: float(v["weight"]) for v in body["variants"]}
    found = list(answers(session, name))
    said = (feedback for one in found for feedback in one.feedback)
    return read_out(weights, session.ledger.requests(name), said)


def experiment_status(session: Session, name: str, *, json: bool) -> int:
    result = experiment(session, name)
    if json:
        print_json(result.model_dump(mode="json"))
    else:
        show(session, name, result)
    return 0


def show(session: Session, name: str, result: ReadOut) -> None:
    columns = ("arm", "users", "requests", "thumbs up", "always-valid 95%", "answered by thumbs")
    rows = [
        (
            arm.variant,
            arm.units,
            arm.requests,
            None if arm.thumbs_up_share is None else f"{arm.thumbs_up_share:.3f}",
            _interval(arm.thumbs_up_interval),
            None if arm.response_rate is None else f"{arm.response_rate:.3f}",
        )
        for arm in result.arms
    ]
    session.console.print(table(f"experiment {name}", columns, rows))
    for warning in result.warnings:
        session.say(f"  {warning}")
    session.say(f"sample ratio p = {result.srm_p:.4f}; {result.decision}: {result.reason}")


def _interval(bounds: tuple[float, float] | None) -> str | None:
    return None if bounds is None else f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
