"""The envelope against DSSE's own vectors and another implementation, and what is sealed."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from registry.checkpoint import FileEntry, Manifest, weights_digest
from registry.records import digest_of
from registry.signing import (
    HallmarkError,
    SigningError,
    SigningKey,
    envelope_digest,
    key_id,
    load_public_key,
    make_envelope,
    open_envelope,
    pae,
    read_hallmark,
    seal,
    write_hallmark,
)
from registry.statement import Statement, statement_of
from registry.verdict import Status, Verdict

ALGORITHMS = ["ed25519", "ecdsa-p256"]


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.generate(tmp_path / "key.pem")


@pytest.fixture
def manifest() -> Manifest:
    from datetime import UTC, datetime

    files = {
        "config.json": FileEntry(sha256="c" * 64, size_bytes=1),
        "model.safetensors": FileEntry(sha256="d" * 64, size_bytes=2),
    }
    return Manifest(
        name="small",
        stage="sft",
        weights_digest=weights_digest(files),
        parent_digest=None,
        files=files,
        recipe={"learning_rate": 0.02},
        datasets=(),
        optimizer_lineage=(),
        seed=0,
        tokens_seen=0,
        versions={},
        code_revision="unknown",
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    )


def payload_of(envelope: dict) -> dict:
    return json.loads(base64.b64decode(envelope["payload"]))


def test_pae_is_that_of_the_specification() -> None:
    # https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, section Test Vectors
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_pae_counts_bytes_and_not_characters_and_allows_an_empty_body() -> None:
    # dsse testvectors/vectors.json: non-ascii-payload-type and empty-payload
    assert pae("application/vnd.exämple+json", b"").startswith(b"DSSEv1 29 ")
    assert (
        pae("application/vnd.in-toto+json", b"").hex()
        == "445353457631203238206170706c69636174696f6e2f766e642e696e2d746f746f2b6a736f6e203020"
    )


def test_an_envelope_is_that_of_the_published_vector() -> None:
    # dsse testvectors/vectors.json: single-signature; the key is RFC 8032 section 7.1 TEST 1
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    envelope = make_envelope(
        b'{"_type":"https://in-toto.io/Statement/v1"}',
        SigningKey(Ed25519PrivateKey.from_private_bytes(seed)),
    )
    assert envelope["payload"] == "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=="
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert envelope["signatures"][0]["sig"] == (
        "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=="
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_securesystemslib_accepts_our_envelopes_and_we_accept_its(
    tmp_path: Path, algorithm: str
) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey

    key = SigningKey.generate(tmp_path / "key.pem", algorithm)
    ours = make_envelope(b'{"a": 1}', key)
    theirs = SSlibKey.from_crypto(key.public, keyid=key.key_id)
    parsed = Envelope.from_dict(json.loads(json.dumps(ours)))
    assert set(parsed.verify([theirs], threshold=1)) == {key.key_id}

    envelope = Envelope(b'{"b": 2}', "application/vnd.in-toto+json", {})
    envelope.sign(CryptoSigner(key._private, theirs))
    assert open_envelope(envelope.to_dict(), {key.key_id: key.public}) == (b'{"b": 2}', key.key_id)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_is_loaded_as_it_was_made_and_only_its_owner_can_read_it(
    tmp_path: Path, algorithm: str
) -> None:
    made = SigningKey.generate(tmp_path / "keys" / "key.pem", algorithm)
    assert SigningKey.load(tmp_path / "keys" / "key.pem").key_id == made.key_id
    assert key_id(load_public_key(made.public_pem)) == made.key_id
    assert stat.S_IMODE((tmp_path / "keys" / "key.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path, key: SigningKey) -> None:
    with pytest.raises(SigningError, match="there is a key at"):
        SigningKey.generate(tmp_path / "key.pem")


def test_keys_of_other_kinds_are_refused_with_what_to_make_instead(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    p384 = ec.generate_private_key(ec.SECP384R1())
    for other, encryption, words in (
        (rsa.generate_private_key(65537, 2048), NoEncryption(), "neither an ed25519 nor an ECDSA"),
        (p384, NoEncryption(), "neither an ed25519 nor an ECDSA"),
        (p384, BestAvailableEncryption(b"x"), "without a password; make one with `openssl"),
    ):
        path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        with pytest.raises(SigningError, match=words):
            SigningKey.load(path)
    with pytest.raises(SigningError, match="cannot be read: No such file"):
        SigningKey.load(tmp_path / "gone.pem")
    with pytest.raises(SigningError, match="no public key in PEM"):
        load_public_key(path.read_bytes())


def test_url_safe_base64_and_a_missing_key_id_are_accepted(key: SigningKey) -> None:
    envelope = make_envelope(b"\xfb\xff\xbf>?", key)
    envelope["payload"] = envelope["payload"].replace("+", "-").replace("/", "_")
    assert "-" in envelope["payload"]
    envelope["signatures"][0].pop("keyid")
    assert open_envelope(envelope, {key.key_id: key.public}) == (b"\xfb\xff\xbf>?", key.key_id)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "e30"},
        {"payload": 3},
        {"signatures": None},
        {"signatures": [{"keyid": "x"}]},
        {"signatures": ["x"]},
        {"payloadType": "application/json"},
    ],
)
def test_what_is_no_envelope_is_a_hallmark_error(key: SigningKey, change: dict) -> None:
    with pytest.raises(HallmarkError, match="its hallmark"):
        open_envelope(make_envelope(b"{}", key) | change, {key.key_id: key.public})


def test_a_statement_names_every_file_the_policy_and_all_evidence(
    key: SigningKey, manifest: Manifest, passing_verdict: Callable[[str], Verdict]
) -> None:
    verdict = passing_verdict(manifest.weights_digest)
    statement = payload_of(seal(verdict, manifest, key))
    predicate = statement["predicate"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert {item["name"]: item["digest"]["sha256"] for item in statement["subject"]} == {
        "config.json": "c" * 64,
        "model.safetensors": "d" * 64,
        "manifest.json": digest_of(manifest).removeprefix("sha256:"),
    }
    named = {
        item["name"]: "sha256:" + item["digest"]["sha256"]
        for item in statement["predicate"]["configuration"]
    }
    assert named == {
        "policy/test-policy": verdict.policy_digest,
        "evidence/held_out_bits": verdict.evidence_digests["held_out_bits"],
        "verdict": verdict.digest,
    }
    assert predicate["result"] == "PASSED"
    assert predicate["passedTests"] == ["held_out_bits"]
    assert predicate["failedTests"] == predicate["warnedTests"] == []


def test_an_advisory_entry_that_did_not_pass_is_a_warned_test(
    key: SigningKey, manifest: Manifest, passing_verdict: Callable[[str], Verdict]
) -> None:
    verdict = passing_verdict(manifest.weights_digest)
    advisory = verdict.findings[0].model_copy(
        update={"entry": "style", "tier": "advisory", "status": Status.INCONCLUSIVE}
    )
    verdict = verdict.model_copy(update={"findings": (*verdict.findings, advisory)})
    predicate = payload_of(seal(verdict, manifest, key))["predicate"]
    assert predicate["passedTests"] == ["held_out_bits"]
    assert predicate["warnedTests"] == ["style"]
    assert predicate["failedTests"] == []


def test_a_statement_ignores_fields_it_does_not_know_as_in_toto_asks(
    manifest: Manifest, passing_verdict: Callable[[str], Verdict]
) -> None:
    statement = statement_of(passing_verdict(manifest.weights_digest), manifest)
    body = statement.model_dump(mode="json", by_alias=True)
    body["predicate"]["url"] = "https://example.com/run/1"
    assert Statement.model_validate(body) == statement


@pytest.mark.parametrize("status", [Status.FAIL, Status.INCONCLUSIVE, Status.INVALID])
def test_only_a_pass_is_sealed(
    key: SigningKey, manifest: Manifest, passing_verdict: Callable, status: Status
) -> None:
    with pytest.raises(SigningError, match=f"its verdict is {status}, not PASS"):
        seal(passing_verdict(manifest.weights_digest, status), manifest, key)


def test_a_pass_without_or_against_its_required_findings_is_not_sealed(
    key: SigningKey, manifest: Manifest, passing_verdict: Callable[[str], Verdict]
) -> None:
    verdict = passing_verdict(manifest.weights_digest)
    failed = verdict.findings[0].model_copy(update={"status": Status.FAIL})
    for findings in ((), (failed,)):
        with pytest.raises(SigningError, match="not every required finding"):
            seal(verdict.model_copy(update={"findings": findings}), manifest, key)


def test_a_verdict_of_other_weights_is_not_sealed(
    key: SigningKey, manifest: Manifest, passing_verdict: Callable[[str], Verdict]
) -> None:
    with pytest.raises(SigningError, match="the verdict is of other weights"):
        seal(passing_verdict(digest_of(b"other")), manifest, key)


def test_a_tampered_manifest_is_not_sealed(
    key: SigningKey, manifest: Manifest, passing_verdict: Callable[[str], Verdict]
) -> None:
    files = manifest.files | {"model.safetensors": FileEntry(sha256="e" * 64, size_bytes=2)}
    with pytest.raises(SigningError, match="manifest was tampered with"):
        seal(
            passing_verdict(manifest.weights_digest),
            manifest.model_copy(update={"files": files}),
            key,
        )


def test_the_digest_to_revoke_by_does_not_change_with_the_signatures(
    tmp_path: Path, key: SigningKey
) -> None:
    envelope = make_envelope(b"{}", key)
    other = SigningKey.generate(tmp_path / "other.pem", "ecdsa-p256")
    more = make_envelope(b"{}", other)
    more["signatures"] += envelope["signatures"]
    assert envelope_digest(more) == envelope_digest(envelope)
    assert envelope_digest(make_envelope(b"{ }", key)) != envelope_digest(envelope)


def test_a_hallmark_is_read_as_it_was_written(tmp_path: Path, key: SigningKey) -> None:
    envelope = make_envelope(b"{}", key)
    write_hallmark(tmp_path, envelope)
    assert read_hallmark(tmp_path) == envelope
    for damaged in ("{", "[]"):
        (tmp_path / "hallmark.json").write_text(damaged)
        with pytest.raises(HallmarkError, match="cannot be read"):
            read_hallmark(tmp_path)
