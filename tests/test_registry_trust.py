"""Admission: every way in which a checkpoint is refused, and in which words."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.checkpoint import CheckpointError, Lineage, Manifest, publish, read_manifest
from registry.home import Home
from registry.records import canonical_json, digest_of
from registry.signing import SigningKey, envelope_digest, make_envelope, seal, write_hallmark
from registry.statement import statement_of
from registry.trust import (
    HallmarkError,
    Trust,
    admit,
    load_trust,
    local_key,
    trust_key,
    trust_policy,
)
from registry.verdict import Status, Verdict


def stage(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    publish(
        stage(tmp_path / "staging", b"weights"),
        tmp_path / "small",
        Lineage(name="small", stage="sft"),
    )
    return tmp_path / "small"


@pytest.fixture
def stamp(
    home: Home, passing_verdict: Callable[..., Verdict]
) -> Callable[..., tuple[Manifest, dict]]:
    """Stamps a folder as the gate does, its policy and the local key being trusted."""

    def apply(folder: Path, key: SigningKey | None = None) -> tuple[Manifest, dict]:
        manifest = read_manifest(folder)
        verdict = passing_verdict(manifest.weights_digest)
        trust_policy(home, verdict.policy_digest, verdict.policy_name)
        envelope = seal(verdict, manifest, key or local_key(home))
        write_hallmark(folder, envelope)
        return manifest, envelope

    return apply


@pytest.fixture
def hallmarked(checkpoint: Path, stamp: Callable) -> Path:
    stamp(checkpoint)
    return checkpoint


def refusal(folder: Path, home: Home, revoked: frozenset[str] = frozenset()) -> str:
    with pytest.raises(HallmarkError) as caught:
        admit(folder, load_trust(home), revoked)
    message = str(caught.value)
    assert message.startswith("small (")
    assert f"run `hallmark gate {folder} --against champion`" in message
    return message


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_a_stamped_checkpoint_is_admitted_and_says_by_whom(
    checkpoint: Path, home: Home, stamp: Callable, tmp_path: Path, algorithm: str
) -> None:
    key = SigningKey.generate(tmp_path / "ci.pem", algorithm)
    assert trust_key(home, key.public_pem, "ci") == key.key_id
    manifest, envelope = stamp(checkpoint, key)
    admitted = admit(checkpoint, load_trust(home), frozenset())
    assert admitted.manifest == manifest
    assert admitted.key_id == key.key_id
    assert admitted.policy_digest == digest_of({"policy": "test"})
    assert admitted.envelope_digest == envelope_digest(envelope)
    assert admitted.statement.predicate.passed_tests == ("held_out_bits",)


def test_a_damaged_byte_is_refused_although_the_hallmark_is_genuine(
    hallmarked: Path, home: Home
) -> None:
    (hallmarked / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(CheckpointError, match=r"changed model\.safetensors"):
        admit(hallmarked, load_trust(home), frozenset())


def test_a_tampered_manifest_is_refused(hallmarked: Path, home: Home) -> None:
    body = json.loads((hallmarked / "manifest.json").read_text())
    body["weights_digest"] = "sha256:" + "0" * 64
    (hallmarked / "manifest.json").write_text(json.dumps(body))
    with pytest.raises(CheckpointError, match=r"manifest\.json was tampered with"):
        admit(hallmarked, load_trust(home), frozenset())


def test_other_weights_with_a_manifest_rewritten_to_fit_are_refused(
    hallmarked: Path, home: Home, tmp_path: Path
) -> None:
    publish(
        stage(tmp_path / "forged", b"evil"), tmp_path / "evil", Lineage(name="small", stage="sft")
    )
    shutil.copy(hallmarked / "hallmark.json", tmp_path / "evil")
    assert "is of another checkpoint, with other model.safetensors;" in refusal(
        tmp_path / "evil", home
    )


def test_a_lineage_changed_after_stamping_is_refused(hallmarked: Path, home: Home) -> None:
    manifest = read_manifest(hallmarked)
    forged = manifest.model_copy(update={"parent_digest": "sha256:" + "0" * 64})
    (hallmarked / "manifest.json").write_bytes(canonical_json(forged))
    assert "manifest.json was changed after the hallmark was made" in refusal(hallmarked, home)


def test_an_unsigned_checkpoint_is_refused(checkpoint: Path, home: Home) -> None:
    assert "it has no hallmark" in refusal(checkpoint, home)


def test_a_hallmark_without_signatures_is_refused(hallmarked: Path, home: Home) -> None:
    envelope = json.loads((hallmarked / "hallmark.json").read_text())
    write_hallmark(hallmarked, envelope | {"signatures": []})
    assert "signed by nobody, which is no trusted key" in refusal(hallmarked, home)


def test_a_foreign_signature_is_refused_with_how_to_trust_its_key(
    checkpoint: Path, home: Home, stamp: Callable, tmp_path: Path
) -> None:
    foreign = SigningKey.generate(tmp_path / "foreign.pem")
    ours = local_key(home)
    stamp(checkpoint, foreign)
    message = refusal(checkpoint, home)
    assert f"signed by {foreign.key_id[:12]}, which is no trusted key" in message
    assert f"trusted: {ours.key_id[:12]};" in message
    assert message.endswith("if you trust its signer `hallmark trust key PUBLIC.pem --name NAME`")
    trust_key(home, foreign.public_pem, "colleague")
    assert admit(checkpoint, load_trust(home), frozenset()).key_id == foreign.key_id


def test_a_foreign_signature_under_a_trusted_key_id_is_refused(
    checkpoint: Path, home: Home, stamp: Callable, tmp_path: Path
) -> None:
    _, envelope = stamp(checkpoint, SigningKey.generate(tmp_path / "foreign.pem"))
    envelope["signatures"][0]["keyid"] = local_key(home).key_id
    write_hallmark(checkpoint, envelope)
    assert "the signature does not fit what it says" in refusal(checkpoint, home)


def test_an_altered_statement_is_refused(hallmarked: Path, home: Home) -> None:
    envelope = json.loads((hallmarked / "hallmark.json").read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b"held_out_bits", b"held_out_lies")
    envelope["payload"] = base64.b64encode(payload).decode()
    write_hallmark(hallmarked, envelope)
    assert "its hallmark was altered" in refusal(hallmarked, home)


def test_a_failing_verdict_is_refused_even_when_a_trusted_key_signed_it(
    checkpoint: Path, home: Home, passing_verdict: Callable
) -> None:
    manifest = read_manifest(checkpoint)
    verdict = passing_verdict(manifest.weights_digest, Status.FAIL)
    statement = statement_of(verdict, manifest).model_dump(mode="json", by_alias=True)
    write_hallmark(checkpoint, make_envelope(canonical_json(statement), local_key(home)))
    assert "says FAILED, not PASSED (failed: held_out_bits)" in refusal(checkpoint, home)


def test_another_kind_of_signed_statement_is_refused(
    checkpoint: Path, home: Home, passing_verdict: Callable
) -> None:
    manifest = read_manifest(checkpoint)
    verdict = passing_verdict(manifest.weights_digest)
    body = statement_of(verdict, manifest).model_dump(mode="json", by_alias=True)
    body["predicateType"] = "https://slsa.dev/provenance/v1"
    write_hallmark(checkpoint, make_envelope(canonical_json(body), local_key(home)))
    assert "is no in-toto test result (predicateType:" in refusal(checkpoint, home)


def test_a_policy_that_is_not_allowed_is_refused_by_name(hallmarked: Path, home: Home) -> None:
    [allowed] = (home.root / "trust" / "policies").iterdir()
    allowed.unlink()
    assert "passed the policy test-policy (" in refusal(hallmarked, home)
    trust_policy(home, digest_of(b"strict"), "strict")
    said = refusal(hallmarked, home)
    assert "not allowed here; allowed: strict (" in said
    assert said.endswith("or if that policy is good enough `hallmark trust policy --policy FILE`")


def test_a_revoked_hallmark_is_refused_and_a_new_one_admitted(
    hallmarked: Path, home: Home, stamp: Callable
) -> None:
    digest = envelope_digest(json.loads((hallmarked / "hallmark.json").read_text()))
    assert "was revoked; find out why" in refusal(hallmarked, home, frozenset({digest}))
    stamp(hallmarked)
    admit(hallmarked, load_trust(home), frozenset({digest}))


def test_nothing_is_admitted_where_nothing_is_trusted(hallmarked: Path) -> None:
    with pytest.raises(HallmarkError, match="trusted: none"):
        admit(hallmarked, Trust({}, {}), frozenset())


def test_the_local_key_is_made_once_for_its_owner_alone_and_trusted(home: Home) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: local_key(home).key_id, range(8)))
    assert ids == set(load_trust(home).keys)
    assert stat.S_IMODE((home.keys / "local.pem").stat().st_mode) == 0o600
    assert sorted(path.name for path in home.keys.iterdir()) == [".lock", "local.pem"]


def test_a_local_key_that_somebody_stopped_trusting_stays_untrusted(home: Home) -> None:
    local_key(home)
    (home.root / "trust" / "keys" / "local.pem").unlink()
    local_key(home)
    assert load_trust(home).keys == {}


def test_a_name_of_a_key_is_not_silently_given_to_another_key(home: Home, tmp_path: Path) -> None:
    first, second = (SigningKey.generate(tmp_path / name) for name in ("a.pem", "b.pem"))
    trust_key(home, first.public_pem, "ci")
    trust_key(home, first.public_pem, "ci")
    with pytest.raises(HallmarkError, match="another key is trusted as ci already; remove"):
        trust_key(home, second.public_pem, "ci")


def test_bad_names_keys_and_digests_are_not_trusted(home: Home, tmp_path: Path) -> None:
    key = SigningKey.generate(tmp_path / "a.pem")
    with pytest.raises(HallmarkError, match="may hold letters"):
        trust_key(home, key.public_pem, "../ci")
    with pytest.raises(HallmarkError, match="no public key in PEM"):
        trust_key(home, (tmp_path / "a.pem").read_bytes(), "ci")
    with pytest.raises(HallmarkError, match="policy strict: digest"):
        trust_policy(home, "md5:0", "strict")
    assert load_trust(home) == Trust({}, {})


@pytest.mark.parametrize("name", ["keys/ci.pem", "policies/strict.json"])
def test_a_damaged_file_in_the_trust_folder_is_named(home: Home, name: str) -> None:
    path = home.root / "trust" / name
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(HallmarkError, match=str(path)):
        load_trust(home)
