"""`hallmark gate`, `plan`, `promote`, `rollback` and `verify`: from a checkpoint to an alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from commands.measuring import HERE, How, contaminations, first_looks, measure
from commands.noise import floors
from commands.policies import ALL_CHECKS, open_policy
from commands.session import Session, print_json, table
from commands.state import ensure_trust
from commands.stored import stored_evidence
from commands.switch import ensure_golden, followers, switch
from eval.early import early_verdict
from eval.gate import Policy, judge
from eval.measure import OpenPool
from eval.plan import Plan, count_items
from eval.plan import plan as plan_policy
from eval.report import write_reports
from registry.aliases import standing
from registry.checkpoint import Manifest
from registry.checkpoint import verify as verify_files
from registry.evidence import Evidence, now
from registry.records import UserError, short
from registry.signing import HallmarkError, envelope_digest, seal, write_hallmark
from registry.trust import Admitted, admit, load_trust, local_key
from registry.verdict import Finding, Status, Verdict

COLOURS = {
    Status.PASS: "green",
    Status.FAIL: "red",
    Status.INCONCLUSIVE: "yellow",
    Status.INVALID: "magenta",
}


class AliasError(UserError):
    """The alias to compare with does not exist."""


@dataclass(frozen=True)
class Gated:
    """A judged candidate: its verdict, and where the reports are."""

    verdict: Verdict
    reports: Mapping[str, Path]


def baseline_digest(session: Session, against: str) -> str | None:
    """The alias's checkpoint. None only for a champion that was never set."""
    digest = session.ledger.alias(against)
    if digest is None and against != "champion":
        have = ", ".join(sorted(session.ledger.aliases())) or "none"
        raise AliasError(
            f"no alias named {against!r}; have {have}. Set it with: "
            f"hallmark promote CHECKPOINT --alias {against}"
        )
    return digest


@dataclass(frozen=True)
class Judged:
    """A verdict, and the evidence by entry name that it rests on."""

    verdict: Verdict
    candidate: Mapping[str, Evidence]
    baseline: Mapping[str, Evidence] | None


def measure_and_judge(
    session: Session,
    policy: Policy,
    folder: Path,
    manifest: Manifest,
    *,
    against: str,
    base_digest: str | None,
    opened_by: OpenPool,
    how: How = HERE,
) -> Judged:
    """Measure what is not stored, of both sides, and judge. Nothing is signed or recorded."""
    baseline = lost = None
    if base_digest is not None:
        row = session.ledger.resolve(base_digest)
        title = f"{against} ({row.name})"
        baseline = measure(session, policy, session.stored(base_digest), title, how.opener(session))
        if how.early_fail and base_digest != manifest.weights_digest:
            lost = first_looks(session, policy, folder, baseline, opened_by)
    if lost is not None:
        assert base_digest is not None
        assert baseline is not None
        verdict = early_verdict(
            policy,
            lost,
            baseline,
            candidate_digest=manifest.weights_digest,
            baseline_digest=base_digest,
            against=against,
            now=now(),
        )
        return Judged(verdict, {}, baseline)
    candidate = measure(session, policy, folder, manifest.name, opened_by)
    verdict = judge(
        policy,
        candidate,
        baseline,
        candidate_digest=manifest.weights_digest,
        baseline_digest=base_digest,
        against=against,
        now=now(),
        contamination=contaminations(session, policy, manifest.weights_digest),
        noise=floors(session, policy, folder, candidate, measured=how.noise),
    )
    return Judged(verdict, candidate, baseline)


def run_gate(
    session: Session, checkpoint: str, *, against: str, reference: str, how: How = HERE
) -> Gated:
    """Measure, judge, report, and on PASS sign. Raises UserError for what cannot be judged."""
    ensure_trust(session)
    folder = session.checkpoint(checkpoint)
    manifest = verify_files(folder)
    policy = open_policy(session, reference)
    judged = measure_and_judge(
        session,
        policy,
        folder,
        manifest,
        against=against,
        base_digest=baseline_digest(session, against),
        opened_by=how.opener(session),
        how=how,
    )
    verdict = judged.verdict
    stamp = verdict.created_at.strftime("%Y%m%dT%H%M%S%f")
    reports = write_reports(
        verdict,
        judged.candidate,
        judged.baseline,
        session.home.reports / f"{manifest.name}-{stamp}",
        shows=[check.name for check in ALL_CHECKS if check.shows_answers],
    )
    stamp_digest = None
    if verdict.status is Status.PASS:
        envelope = seal(verdict, manifest, local_key(session.home))
        session.write_back(manifest, write_hallmark(folder, envelope))
        stamp_digest = envelope_digest(envelope)
        ensure_golden(session, folder, manifest)
    session.ledger.record_verdict(verdict, stamp_digest)
    return Gated(verdict, reports)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(finding: Finding) -> str:
    if finding.low is not None or finding.high is not None:
        return f"[{_number(finding.low)}, {_number(finding.high)}]"
    if finding.limit_low is not None or finding.limit_high is not None:
        return f"[{_number(finding.limit_low)}, {_number(finding.limit_high)}]"
    return "-"


def _beside(finding: Finding) -> str:
    """The clean part and the noise floor, where there are any."""
    text = ""
    if (part := finding.clean) is not None:
        text += f"; clean part of {part.n}: {_number(part.candidate)}"
        if part.estimate is not None:
            text += f", baseline {_number(part.baseline)}"
        text += f" [{_number(part.low)}, {_number(part.high)}]"
    if (noise := finding.noise) is not None:
        text += f"; noise floor {noise.floor:.3g} (sd {noise.sd:.3g}, {len(noise.values)} values)"
    return text


def say_why(session: Session, verdict: Verdict) -> None:
    """What kept each entry from PASS, or stands beside it, and what kept all of them: once."""
    for finding in verdict.findings:
        worth = finding.status is not Status.PASS or finding.clean or finding.noise
        if worth and finding.reason not in verdict.of_no_entry:
            session.say(f"  {finding.entry}: {finding.reason}{_beside(finding)}")
    for reason in verdict.of_no_entry:
        session.say(f"  {reason}")


def show(session: Session, gated: Gated) -> None:
    verdict = gated.verdict
    columns = (
        "entry", "tier", "finding", "candidate", "baseline", "interval", "margin", "limit", "n",
    )  # fmt: skip
    rows = [
        (
            f.entry,
            f.tier,
            f"[{COLOURS[f.status]}]{f.status}[/]" if f.label == f.status else f.label,
            _number(f.candidate),
            _number(f.baseline),
            _interval(f),
            _number(f.margin),
            _number(f.limit),
            f.n,
        )
        for f in verdict.findings
    ]
    title = f"policy {verdict.policy_name}, {short(verdict.candidate_digest)} against "
    title += short(verdict.baseline_digest) if verdict.baseline_digest else "absolute limits"
    session.console.print(table(title, columns, rows))
    say_why(session, verdict)
    session.say(f"[bold {COLOURS[verdict.status]}]{verdict.status}[/]")
    for path in gated.reports.values():
        session.say(f"  {path}")


def gate(
    session: Session,
    checkpoint: str,
    *,
    against: str,
    policy: str,
    json: bool,
    how: How = HERE,
) -> int:
    gated = run_gate(session, checkpoint, against=against, reference=policy, how=how)
    if json:
        print_json(gated.verdict.model_dump(mode="json"))
    else:
        show(session, gated)
    return gated.verdict.exit_code


def make_plan(session: Session, reference: str, against: str) -> Plan:
    """The policy's power with the items it has, and the alias's evidence where it is stored."""
    policy = open_policy(session, reference)
    champion = session.ledger.alias(against)
    baseline = stored_evidence(session, policy, session.stored(champion)) if champion else None
    return plan_policy(policy, count_items(policy), baseline)


def plan(session: Session, *, policy: str, against: str, json: bool) -> int:
    made = make_plan(session, policy, against)
    if json:
        print_json(made.model_dump(mode="json"))
    else:
        columns = ("entry", "tier", "n", "needed", "margin", "smallest", "power", "note")
        rows = [
            (
                r.entry,
                r.tier,
                r.n,
                r.n_needed,
                _number(r.margin),
                _number(r.smallest_margin),
                _number(r.power),
                r.note,
            )
            for r in made.rows
        ]
        session.console.print(table(f"policy {made.policy}", columns, rows))
        session.say(made.summary)
    return 1 if any(r.refused for r in made.rows) else 0


def admitted(session: Session, checkpoint: str) -> Admitted:
    ensure_trust(session)
    folder = session.checkpoint(checkpoint)
    return admit(folder, load_trust(session.home), session.ledger.revoked())


def promote(session: Session, checkpoint: str, *, alias: str, reason: str) -> int:
    manifest = admitted(session, checkpoint).manifest
    verdicts = session.ledger.verdicts(manifest.weights_digest)
    newest = verdicts[-1].verdict.status if verdicts else Status.PASS
    if newest is not Status.PASS:
        raise HallmarkError(
            f"{manifest.name} has a hallmark, but its newest verdict is {newest}; "
            f"see: hallmark gate {manifest.name}"
        )
    switch(session, alias, session.checkpoint(checkpoint), manifest)
    session.ledger.set_alias(alias, manifest.weights_digest, by=session.who, reason=reason)
    session.say(f"{alias} is {manifest.name} ({short(manifest.weights_digest)})")
    return 0


def rollback(session: Session, *, alias: str, reason: str) -> int:
    before = standing(session.ledger.alias_history(alias))[-2:-1]
    if before and followers(session, alias):
        found = admitted(session, before[0])  # the same path as forwards, hashed afresh
        switch(session, alias, session.checkpoint(before[0]), found.manifest)
    digest = session.ledger.rollback(alias, by=session.who, reason=reason)
    session.say(f"{alias} is {session.ledger.resolve(digest).name} ({short(digest)}) again")
    return 0


def verify(session: Session, checkpoint: str, *, json: bool) -> int:
    found = admitted(session, checkpoint)
    body = {
        "name": found.manifest.name,
        "weights_digest": found.manifest.weights_digest,
        "policy_digest": found.policy_digest,
        "key_id": found.key_id,
        "result": "PASSED",
    }
    if json:
        print_json(body)
    else:
        session.say(f"{body['name']}: every file and the hallmark are as signed")
        session.say(f"  weights {body['weights_digest']}")
        session.say(f"  policy {body['policy_digest']}, key {body['key_id']}")
    return 0
