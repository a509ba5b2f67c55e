"""Who may stamp a checkpoint, under which policies, and the check before it is used.

Trust is files below ``<home>/trust``: ``keys/NAME.pem`` holds a public key and
``policies/NAME.json`` a policy's digest. Copy a file there to trust it, remove it to
stop. Nothing here decides whether a policy is good enough: a person does.
"""

from __future__ import annotations

import fcntl
import re
import shlex
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from registry.checkpoint import HALLMARK, MANIFEST, Manifest, verify
from registry.home import Home
from registry.records import (
    Record,
    canonical_json,
    file_sha256,
    first_problem,
    short,
    write_atomically,
)
from registry.signing import (
    ForeignSignature,
    HallmarkError,
    PublicKey,
    SigningError,
    SigningKey,
    envelope_digest,
    key_id,
    load_public_key,
    open_envelope,
    read_hallmark,
)
from registry.statement import Statement

__all__ = [
    "Admitted",
    "HallmarkError",
    "Trust",
    "admit",
    "load_trust",
    "local_key",
    "trust_key",
    "trust_policy",
]

LOCAL = "local"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class TrustedPolicy(Record):
    name: str
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Trust:
    """Public keys by key id, and policy names by digest."""

    keys: Mapping[str, PublicKey]
    policies: Mapping[str, str]


@dataclass(frozen=True)
class Admitted:
    """A checkpoint that passed every check: what it is, what was said of it, and by whom."""

    manifest: Manifest
    statement: Statement
    policy_digest: str
    key_id: str
    envelope_digest: str


def load_trust(home: Home) -> Trust:
    """What this home trusts; HallmarkError names a file there that cannot be read."""
    folder = home.root / "trust"
    keys: dict[str, PublicKey] = {}
    policies: dict[str, str] = {}
    for path in sorted((folder / "keys").glob("*.pem")):
        try:
            public = load_public_key(path.read_bytes())
        except SigningError as error:
            raise HallmarkError(f"{path}: {error}") from error
        keys[key_id(public)] = public
    for path in sorted((folder / "policies").glob("*.json")):
        try:
            policy = TrustedPolicy.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise HallmarkError(f"{path}: {first_problem(error)}; mend or remove it") from error
        policies[policy.digest] = policy.name
    return Trust(keys, policies)


def trust_key(home: Home, pem: bytes, name: str) -> str:
    """Trust what this public key signs from now on, and return its id. Raises HallmarkError."""
    path = home.root / "trust" / "keys" / f"{_checked(name)}.pem"
    try:
        public = load_public_key(pem)
    except SigningError as error:
        raise HallmarkError(str(error)) from error
    if path.exists() and key_id(load_public_key(path.read_bytes())) != key_id(public):
        raise HallmarkError(
            f"another key is trusted as {name} already; remove {path} or choose another name"
        )
    write_atomically(path, pem)
    return key_id(public)


def trust_policy(home: Home, digest: str, name: str) -> None:
    """Let checkpoints that passed the policy of this digest be used. A name may have several."""
    path = home.root / "trust" / "policies" / f"{_checked(name)}-{short(digest)}.json"
    try:
        policy = TrustedPolicy(name=name, digest=digest)
    except ValidationError as error:
        raise HallmarkError(f"policy {name}: {first_problem(error)}") from error
    write_atomically(path, canonical_json(policy))


def local_key(home: Home) -> SigningKey:
    """This machine's own key, made and trusted on first use.

    It is trusted only when it is made: who removes ``trust/keys/local.pem`` keeps it so.
    """
    path = home.keys / f"{LOCAL}.pem"
    with _locked(home.keys):
        if path.exists():
            return SigningKey.load(path)
        unfinished = home.keys / f".{LOCAL}.unfinished"
        unfinished.unlink(missing_ok=True)
        key = SigningKey.generate(unfinished)
        # Trusted before it is in place, so that an interruption leads to a new key
        # and not to one that nobody trusts.
        write_atomically(home.root / "trust" / "keys" / f"{LOCAL}.pem", key.public_pem)
        unfinished.replace(path)
        return key


class ForeignPolicy(HallmarkError):
    """A hallmark under a policy that is not allowed here."""


def admit(folder: Path, trust: Trust, revoked: Container[str]) -> Admitted:
    """Check everything that must hold before a checkpoint is used, hashing every file afresh.

    Raises CheckpointError where the files are not those of the manifest, HallmarkError
    where the hallmark does not admit them; each message says what to run.
    """
    manifest = verify(folder)
    try:
        return _judge(folder, manifest, trust, revoked)
    except HallmarkError as error:
        advice = f"run `hallmark gate {shlex.quote(str(folder))} --against champion`"
        if isinstance(error, ForeignSignature):
            advice += ", or if you trust its signer `hallmark trust key PUBLIC.pem --name NAME`"
        if isinstance(error, ForeignPolicy):
            advice += ", or if that policy is good enough `hallmark trust policy --policy FILE`"
        raise HallmarkError(
            f"{manifest.name} ({short(manifest.weights_digest)}) is not admitted: {error}; {advice}"
        ) from error


def _judge(folder: Path, manifest: Manifest, trust: Trust, revoked: Container[str]) -> Admitted:
    envelope = read_hallmark(folder)
    payload, signer = open_envelope(envelope, trust.keys)
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        raise HallmarkError(
            f"{folder / HALLMARK} is no in-toto test result ({first_problem(error)})"
        ) from error
    _refuse_other_files(folder, manifest, statement)
    predicate = statement.predicate
    if predicate.result != "PASSED" or predicate.failed_tests or not predicate.passed_tests:
        failed = ", ".join(predicate.failed_tests) or "nothing named"
        raise HallmarkError(f"its hallmark says {predicate.result}, not PASSED (failed: {failed})")
    policy = _allowed_policy(statement, trust)
    digest = envelope_digest(envelope)
    if digest in revoked:
        raise HallmarkError(
            f"its hallmark {short(digest)} was revoked; find out why, and mend that"
        )
    return Admitted(manifest, statement, policy, signer, digest)


def _refuse_other_files(folder: Path, manifest: Manifest, statement: Statement) -> None:
    subjects = statement.subjects
    expected = {name: entry.sha256 for name, entry in manifest.files.items()}
    files = {name: digest for name, digest in subjects.items() if name != MANIFEST}
    if len(subjects) != len(statement.subject) or files != expected:
        names = sorted(
            name for name in files.keys() | expected.keys() if files.get(name) != expected.get(name)
        )
        raise HallmarkError(
            f"its hallmark is of another checkpoint, with other {', '.join(names) or 'files'}"
        )
    if subjects.get(MANIFEST) != file_sha256(folder / MANIFEST):
        raise HallmarkError(f"its {MANIFEST} was changed after the hallmark was made")


def _allowed_policy(statement: Statement, trust: Trust) -> str:
    if len(statement.policies) != 1:
        raise HallmarkError(f"its hallmark names {len(statement.policies)} policies, not one")
    [(name, digest)] = statement.policies.items()
    if digest not in trust.policies:
        allowed = ", ".join(
            f"{allowed} ({short(digest)})" for digest, allowed in sorted(trust.policies.items())
        )
        raise ForeignPolicy(
            f"it passed the policy {name} ({short(digest)}), which is not allowed here; "
            f"allowed: {allowed or 'none'}"
        )
    return digest


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise HallmarkError(
            f"the name {name!r} may hold letters, digits, '.', '_' and '-' only; choose another"
        )
    return name


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time, so that two first uses do not make two keys."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
