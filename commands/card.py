"""`hallmark card`: the model card of a checkpoint, from what the ledger and the store know."""

from __future__ import annotations

from pathlib import Path

from audit.card import Audit, Trained, model_card
from audit.checks import AUDITS
from commands.gate import admitted
from commands.session import Session, print_json
from commands.training_data import training_data
from registry.checkpoint import HALLMARK, MODEL_CARD, Manifest, verify
from registry.evidence import EvidenceStore
from registry.records import UserError, short, write_atomically
from registry.verdict import Verdict


def card(session: Session, checkpoint: str, *, out: Path | None, json: bool) -> int:
    folder = session.checkpoint(checkpoint)
    manifest = verify(folder)
    verdicts = session.ledger.verdicts(manifest.weights_digest)
    verdict = verdicts[-1].verdict if verdicts else None
    audits = stored_audits(session, manifest.weights_digest, verdict)
    line = _line(session, manifest)
    known = training_data(session, manifest.weights_digest)
    holds = _hallmark_holds(session, checkpoint, folder)
    made = model_card(
        line,
        _trained(session, line),
        verdict,
        audits,
        unknown=known.unknown,
        hallmark_holds=holds,
    )
    path = out or folder / MODEL_CARD
    write_atomically(path, made.encode())
    if out is None:
        session.write_back(manifest, path)
    if json:
        print_json(
            {
                "path": str(path),
                "weights_digest": manifest.weights_digest,
                "verdict": verdict.status if verdict else None,
                "hallmark_holds": holds,
                "audits": [one.name for one in audits],
            }
        )
        return 0
    session.say(f"{path}")
    session.say(f"  verdict: {verdict.status if verdict else 'none, see: hallmark gate'}")
    session.say(f"  audits: {', '.join(a.name for a in audits) or 'none, see: hallmark audit'}")
    return 0


def stored_audits(session: Session, weights_digest: str, verdict: Verdict | None) -> list[Audit]:
    """All audits' evidence on these weights, named as the verdict's entries where it is theirs."""
    rows = {row.name: row for row in AUDITS}
    store = EvidenceStore(session.home.evidence)
    entries = {d: name.split("/", 1)[-1] for name, d in _of_candidate(verdict)}
    found = []
    for stored in session.ledger.evidence(weights_digest):
        row = rows.get(stored.check)
        if row is None:
            continue
        evidence = store.load(stored.check, weights_digest, stored.config_digest)
        if evidence is not None:
            name = entries.get(evidence.digest, f"{stored.check} {short(stored.config_digest)[:6]}")
            found.append(Audit(name, row, evidence))
    return found


def _of_candidate(verdict: Verdict | None) -> list[tuple[str, str]]:
    digests = verdict.evidence_digests if verdict else {}
    return [(name, digest) for name, digest in digests.items() if name.startswith("candidate/")]


def _line(session: Session, manifest: Manifest) -> list[Manifest]:
    ancestors = session.ledger.ancestry(manifest.weights_digest)[1:]
    return [manifest, *(session.ledger.manifest(row.digest) for row in ancestors)]


def _trained(session: Session, line: list[Manifest]) -> list[Trained]:
    """Each dataset version by the first of the line that was trained on it."""
    known = {row.digest: row for row in session.ledger.datasets()}
    found: dict[tuple[str, str], Trained] = {}
    for manifest in line:
        for dataset in manifest.datasets:
            row = known.get(dataset.digest)
            found.setdefault(
                (dataset.digest, manifest.name),
                Trained(
                    name=dataset.name,
                    digest=dataset.digest,
                    used_by=f"{manifest.name} ({dataset.split})",
                    licence=row.licence if row else None,
                    source=row.source if row else None,
                    rows=row.num_rows if row else None,
                ),
            )
    return list(found.values())


def _hallmark_holds(session: Session, checkpoint: str, folder: Path) -> bool:
    """Whether the server would admit it now: signature, trust, policy and revocation."""
    if not (folder / HALLMARK).is_file():
        return False
    try:
        admitted(session, checkpoint)
    except UserError:
        return False
    return True
