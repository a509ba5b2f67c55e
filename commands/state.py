"""`hallmark init`, `status` and `trust`: what stands where, and whose word counts."""

from __future__ import annotations

from pathlib import Path

from commands.policies import open_policy, shipped
from commands.session import Session, print_json, table
from registry.records import UserError, short
from registry.trust import load_trust, local_key
from registry.trust import trust_key as add_key
from registry.trust import trust_policy as add_policy


def ensure_trust(session: Session) -> None:
    """On first use: a local key, and trust in it and in the shipped policies.

    Once the folder exists it is the user's: a policy removed from it stays removed.
    """
    if (session.home.root / "trust").exists():
        return
    for name in shipped():
        policy = open_policy(session, name)
        add_policy(session.home, policy.digest, policy.name)
    local_key(session.home)


def init(session: Session) -> int:
    ensure_trust(session)
    key = local_key(session.home)
    session.ledger.aliases()
    session.say(f"{session.home.root} is ready: ledger {session.home.ledger_url}")
    session.say(f"hallmarks are signed here with key {key.key_id} (keys/; keep it private)")
    session.say("next: hallmark demo, or hallmark data import and hallmark train run")
    return 0


def trust_policy(session: Session, reference: str) -> int:
    ensure_trust(session)
    policy = open_policy(session, reference)
    add_policy(session.home, policy.digest, policy.name)
    session.say(f"hallmarks under policy {policy.name} ({short(policy.digest)}) are accepted")
    return 0


def trust_key(session: Session, public_key: Path, name: str) -> int:
    if not public_key.is_file():
        raise UserError(f"{public_key} is not a file; give the PEM file of a public key")
    ensure_trust(session)
    add_key(session.home, public_key.read_bytes(), name)
    session.say(f"hallmarks signed by {name} are accepted")
    return 0


def status(session: Session, *, json: bool) -> int:
    ledger = session.ledger
    names = {digest: alias for alias, digest in ledger.aliases().items()}
    checkpoints = []
    for row in ledger.checkpoints():
        verdicts = ledger.verdicts(row.digest)
        checkpoints.append(
            {
                "name": row.name,
                "digest": row.digest,
                "stage": row.stage,
                "parent": row.parent_digest,
                "alias": names.get(row.digest),
                "verdict": str(verdicts[-1].verdict.status) if verdicts else None,
                "policy": verdicts[-1].verdict.policy_name if verdicts else None,
                "folder": row.uri,
            }
        )
    datasets = [{"name": d.name, "digest": d.digest, "folder": d.uri} for d in ledger.datasets()]
    trust = load_trust(session.home) if (session.home.root / "trust").exists() else None
    body = {
        "home": str(session.home.root),
        "aliases": ledger.aliases(),
        "checkpoints": checkpoints,
        "datasets": datasets,
        "trusted_policies": dict(trust.policies) if trust else {},
        "trusted_keys": sorted(trust.keys) if trust else [],
    }
    if json:
        print_json(body)
        return 0
    rows = [
        (c["name"], short(str(c["digest"])), c["stage"], c["alias"], c["verdict"], c["policy"])
        for c in checkpoints
    ]
    columns = ("checkpoint", "digest", "stage", "alias", "verdict", "policy")
    session.console.print(table(f"{session.home.root}", columns, rows))
    if not rows:
        session.say("nothing here yet: hallmark demo, or hallmark data synth")
    return 0
