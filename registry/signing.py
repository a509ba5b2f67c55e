"""Keys, and the DSSE envelope that a hallmark is.

Source: DSSE 1.0.0, https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
Whether a key is trusted is not known here: that is ``registry.trust``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256

from registry.checkpoint import HALLMARK, Manifest, weights_digest
from registry.records import UserError, canonical_json, digest_of, short, write_atomically
from registry.statement import statement_of
from registry.verdict import Status, Verdict

PAYLOAD_TYPE = "application/vnd.in-toto+json"

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
Algorithm = Literal["ed25519", "ecdsa-p256"]


class SigningError(UserError):
    """A key cannot be used, or what is to be signed does not deserve a hallmark."""


class HallmarkError(UserError):
    """A hallmark is missing, damaged, or does not admit this checkpoint."""


class ForeignSignature(HallmarkError):
    """A hallmark that no trusted key signed."""


class SigningKey:
    """A private key: ed25519, or ECDSA over NIST P-256 with SHA-256 and DER signatures."""

    def __init__(self, private: PrivateKey) -> None:
        self._private = private

    @classmethod
    def generate(cls, path: Path, algorithm: Algorithm = "ed25519") -> SigningKey:
        """Make a key and keep it at ``path``, readable by its owner alone; never overwrites."""
        if path.exists():
            raise SigningError(
                f"there is a key at {path} already; remove it or choose another path"
            )
        private: PrivateKey
        if algorithm == "ed25519":
            private = Ed25519PrivateKey.generate()
        else:
            private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_atomically(path, pem, mode=0o600)
        return cls(private)

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """The key in a PEM file without a password. Raises SigningError."""
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise SigningError(f"the key {path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningError(
                f"{path} is no private key in PEM without a password; "
                "make one with `openssl genpkey -algorithm ed25519`"
            ) from error
        if isinstance(private, Ed25519PrivateKey):
            return cls(private)
        if isinstance(private, ec.EllipticCurvePrivateKey) and _is_p256(private.curve):
            return cls(private)
        raise SigningError(
            f"{path} is neither an ed25519 nor an ECDSA P-256 key; "
            "make one with `openssl genpkey -algorithm ed25519`"
        )

    @property
    def public(self) -> PublicKey:
        return self._private.public_key()

    @property
    def key_id(self) -> str:
        return key_id(self.public)

    @property
    def public_pem(self) -> bytes:
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._private, Ed25519PrivateKey):
            return self._private.sign(data)
        return self._private.sign(data, ec.ECDSA(SHA256()))


def load_public_key(pem: bytes) -> PublicKey:
    """A public key from PEM. Raises SigningError for a private key or another algorithm."""
    try:
        public = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(
            "that is no public key in PEM; `openssl pkey -in KEY.pem -pubout` gives it"
        ) from error
    if isinstance(public, Ed25519PublicKey):
        return public
    if isinstance(public, ec.EllipticCurvePublicKey) and _is_p256(public.curve):
        return public
    raise SigningError("a public key must be ed25519 or ECDSA P-256")


def key_id(public: PublicKey) -> str:
    """Hex sha256 of the key's DER SubjectPublicKeyInfo: a hint in envelopes, never proof."""
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def make_envelope(payload: bytes, key: SigningKey) -> dict[str, Any]:
    """A DSSE envelope around an in-toto payload, with one signature."""
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {
                "keyid": key.key_id,
                "sig": base64.b64encode(key.sign(pae(PAYLOAD_TYPE, payload))).decode(),
            }
        ],
    }


def open_envelope(envelope: Mapping[str, Any], keys: Mapping[str, PublicKey]) -> tuple[bytes, str]:
    """The payload and the id of the key among ``keys`` that signed it. Raises HallmarkError.

    The key id in a signature only narrows the keys to try; without one all are tried.
    """
    payload, signatures = _decode(envelope)
    signed = pae(PAYLOAD_TYPE, payload)
    claimed = False
    for hint, signature in signatures:
        candidates = {hint: keys[hint]} if hint in keys else {} if hint else dict(keys)
        claimed = claimed or hint in keys
        for name, key in candidates.items():
            if _verifies(key, signature, signed):
                return payload, name
    if claimed:
        raise HallmarkError("its hallmark was altered: the signature does not fit what it says")
    signers = ", ".join(short(hint) or "a key without id" for hint, _ in signatures) or "nobody"
    known = ", ".join(short(name) for name in sorted(keys)) or "none"
    raise ForeignSignature(
        f"its hallmark is signed by {signers}, which is no trusted key; trusted: {known}"
    )


def envelope_digest(envelope: Mapping[str, Any]) -> str:
    """``sha256:...`` of what an envelope's signatures are over: the name to revoke it by.

    Adding or re-encoding signatures does not change it, so a revocation cannot be evaded.
    """
    return digest_of(pae(PAYLOAD_TYPE, _decode(envelope)[0]))


def seal(verdict: Verdict, manifest: Manifest, key: SigningKey) -> dict[str, Any]:
    """The hallmark of a passed checkpoint: a DSSE envelope around an in-toto statement.

    Raises SigningError where the verdict is not PASS, is of other weights, or has no
    required finding, and where the manifest's digest is not that of its files.
    """
    name = f"{manifest.name} ({short(manifest.weights_digest)})"
    if verdict.status is not Status.PASS:
        raise SigningError(f"no hallmark for {name}: its verdict is {verdict.status}, not PASS")
    required = [finding for finding in verdict.findings if finding.tier == "required"]
    if not required or any(finding.status is not Status.PASS for finding in required):
        raise SigningError(f"no hallmark for {name}: not every required finding is there and PASS")
    if verdict.candidate_digest != manifest.weights_digest:
        raise SigningError(
            f"no hallmark for {name}: the verdict is of other weights "
            f"({short(verdict.candidate_digest)}); gate this checkpoint"
        )
    if weights_digest(manifest.files, manifest.parent_digest) != manifest.weights_digest:
        raise SigningError(f"no hallmark for {name}: its manifest was tampered with")
    statement = statement_of(verdict, manifest)
    return make_envelope(canonical_json(statement.model_dump(mode="json", by_alias=True)), key)


def write_hallmark(folder: Path, envelope: Mapping[str, Any]) -> Path:
    path = folder / HALLMARK
    write_atomically(path, canonical_json(dict(envelope)))
    return path


def read_hallmark(folder: Path) -> dict[str, Any]:
    """The envelope in a checkpoint folder, unchecked. Raises HallmarkError."""
    path = folder / HALLMARK
    try:
        envelope = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise HallmarkError(f"it has no hallmark ({path} is missing)") from error
    except (ValueError, OSError) as error:
        raise HallmarkError(f"its hallmark {path} cannot be read") from error
    if not isinstance(envelope, dict):
        raise HallmarkError(f"its hallmark {path} cannot be read")
    return envelope


def _decode(envelope: Mapping[str, Any]) -> tuple[bytes, list[tuple[str, bytes]]]:
    try:
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise HallmarkError(f"its hallmark's payload is of type {envelope['payloadType']!r}")
        signatures = [
            (str(item.get("keyid") or ""), _base64(item["sig"])) for item in envelope["signatures"]
        ]
        return _base64(envelope["payload"]), signatures
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise HallmarkError("its hallmark is no DSSE envelope") from error


def _base64(text: str) -> bytes:
    """DSSE: verifiers must accept the standard and the URL-safe alphabet."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)


def _verifies(key: PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _is_p256(curve: ec.EllipticCurve) -> bool:
    return isinstance(curve, ec.SECP256R1)
