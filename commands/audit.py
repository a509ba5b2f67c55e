"""`hallmark audit`: a suite measured and judged as a gate would, reported, and not signed.

A suite is a policy. What is measured is stored as `hallmark gate` stores it, so a gate with
the same entries measures nothing again; and an audit after it neither.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from audit.audit_page import page
from audit.report import AuditReport, LeftOut, Power, audit_report, markdown
from commands.gate import baseline_digest, measure_and_judge, say_why
from commands.measuring import HERE
from commands.policies import dataset_file, open_policy
from commands.session import Session, print_json, table
from commands.timing import estimate
from eval.gate import Policy
from eval.measure import entry_digest
from eval.plan import Plan, count_items
from eval.plan import plan as plan_policy
from eval.policy import file_references
from eval.wording import COLUMNS, finding_cells, number
from registry.checkpoint import verify
from registry.evidence import EvidenceStore
from registry.records import UserError, describe_unknown, write_atomically

SUITES = Path(__file__).resolve().parent.parent / "audit" / "suites"
NO_BASELINE = "baseline"  # what findings say there is none of


class MissingData(UserError):
    """A required entry of the suite has no data to be measured on."""


@dataclass(frozen=True)
class Audited:
    """A finished audit: the report, where it was written, and how long measuring took."""

    report: AuditReport
    paths: dict[str, Path]
    seconds: float


def shipped_suites() -> list[str]:
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def open_suite(session: Session, reference: str) -> tuple[Policy, tuple[LeftOut, ...]]:
    """A shipped suite by its name, or a file; without what has no data and blocks nothing.

    Raises MissingData for a required entry whose dataset is not registered: an audit that
    leaves out what it requires would pass for nothing.
    """
    policy = open_policy(session, str(_suite_path(reference)))
    kept, left_out = [], []
    for entry in policy.entries:
        missing = [
            wanted
            for wanted in file_references(entry.rule.config)
            if not dataset_file(session, wanted).is_file()
        ]
        if not missing:
            kept.append(entry)
        elif entry.rule.tier == "required":
            raise MissingData(
                f"suite {policy.name}: entry {entry.name} needs {missing[0]}, which is not "
                "registered; make it with `hallmark data`, or give a suite without the entry"
            )
        else:
            left_out.append(
                LeftOut(entry=entry.name, needs=f"needs {missing[0]}, which is not registered")
            )
    rules = tuple(entry.rule for entry in kept)
    written = policy.written.model_copy(update={"entries": rules})
    return replace(policy, written=written, entries=tuple(kept)), tuple(left_out)


def _suite_path(reference: str) -> Path:
    path = Path(reference)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return path
    if reference not in shipped_suites():
        raise UserError(
            f"{describe_unknown('suite', reference, shipped_suites())}; or give the path of a "
            ".yaml file"
        )
    return SUITES / f"{reference}.yaml"


def run_audit(
    session: Session, checkpoint: str, *, suite: str, against: str | None, out: Path | None
) -> Audited:
    """Plan, measure, judge and report. Raises UserError for what cannot be measured."""
    folder = session.checkpoint(checkpoint)
    manifest = verify(folder)
    policy, left_out = open_suite(session, suite)
    base_digest = None if against is None else baseline_digest(session, against)
    plan = plan_policy(policy, count_items(policy))
    for one in left_out:
        session.say(f"  not measured: {one.entry} {one.needs}")
    _show_plan(session, plan)
    opened_by = HERE.opener(session)
    store = EvidenceStore(session.home.evidence)
    missing = [
        entry
        for entry in policy.entries
        if store.load(entry.check, manifest.weights_digest, entry_digest(entry)[1]) is None
    ]
    if missing:
        expected = estimate(missing, opened_by(folder))
        share = f"{len(missing)} of {len(policy.entries)}"
        session.say(f"  {share} entries to measure, about {_minutes(expected)}")
    else:
        session.say("  everything is measured already")
    began = time.monotonic()
    judged = measure_and_judge(
        session,
        policy,
        folder,
        manifest,
        against=against or NO_BASELINE,
        base_digest=base_digest,
        opened_by=opened_by,
    )
    seconds = time.monotonic() - began
    report = audit_report(
        policy,
        judged.verdict,
        judged.candidate,
        checkpoint=manifest.name,
        power=_power(plan),
        left_out=left_out,
    )
    stamp = judged.verdict.created_at.strftime("%Y%m%dT%H%M%S%f")
    out = out or session.home.reports / f"{manifest.name}-audit-{stamp}"
    contents = {
        "audit.json": report.model_dump_json(indent=2) + "\n",
        "audit.md": markdown(report),
        "audit.html": page(report, judged.candidate),
    }
    for name, text in contents.items():
        write_atomically(out / name, text.encode())
    return Audited(report, {name: out / name for name in contents}, seconds)


def audit(
    session: Session,
    checkpoint: str,
    *,
    suite: str,
    against: str | None,
    out: Path | None,
    json: bool,
) -> int:
    audited = run_audit(session, checkpoint, suite=suite, against=against, out=out)
    verdict = audited.report.verdict
    if json:
        print_json(audited.report.model_dump(mode="json"))
        return verdict.exit_code
    title = f"suite {audited.report.suite}, {audited.report.checkpoint}"
    rows = [finding_cells(finding) for finding in verdict.findings]
    session.console.print(table(title, COLUMNS, rows))
    say_why(session, verdict)
    session.say(f"{verdict.status}, measured in {_minutes(audited.seconds)}; nothing was signed")
    for path in audited.paths.values():
        session.say(f"  {path}")
    return verdict.exit_code


def _power(plan: Plan) -> tuple[Power, ...]:
    return tuple(
        Power(
            entry=row.entry,
            items=row.n,
            needed=row.n_needed,
            smallest_margin=row.smallest_margin,
            power=row.power,
            note=row.note,
        )
        for row in plan.rows
    )


def _show_plan(session: Session, plan: Plan) -> None:
    """The sizes, and whether they are large enough for the decisions they are for."""
    columns = ("entry", "tier", "items", "needed", "power", "rests on")
    rows = [
        (row.entry, row.tier, row.n, row.n_needed, number(row.power), row.note) for row in plan.rows
    ]
    session.console.print(table(f"sizes of suite {plan.policy}", columns, rows))
    session.say(f"  {plan.summary}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
