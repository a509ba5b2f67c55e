"""What may not answer, each with its message; and a server that refuses before it starts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Container
from pathlib import Path

import pytest

from registry.checkpoint import read_manifest
from registry.home import Home
from registry.signing import SigningKey, envelope_digest, read_hallmark, seal, write_hallmark
from registry.trust import local_key, trust_key, trust_policy
from registry.verdict import Status, Verdict
from serve.admission import Admission, AdmissionError
from serve.listen import ServeError, listening

ROOT = Path(__file__).resolve().parent.parent


def admission(home: Home, revoked: Container[str] = frozenset()) -> Admission:
    return Admission(home, lambda: revoked)


@pytest.fixture
def stamped(
    tiny_checkpoint: Path, tmp_path: Path, home: Home, passing_verdict: Callable[[str], Verdict]
) -> Path:
    folder = tmp_path / "stamped"
    shutil.copytree(tiny_checkpoint, folder)
    manifest = read_manifest(folder)
    verdict = passing_verdict(manifest.weights_digest)
    trust_policy(home, verdict.policy_digest, verdict.policy_name)
    write_hallmark(folder, seal(verdict, manifest, local_key(home)))
    return folder


def refused(home: Home, folder: Path, match: str, revoked: Container[str] = frozenset()) -> None:
    with pytest.raises(AdmissionError, match=match) as caught:
        admission(home, revoked).admit("a", folder)
    assert str(caught.value).startswith("variant 'a' is refused: ")


def test_a_hallmarked_checkpoint_is_admitted_and_named(home, stamped):
    admitted = admission(home).admit("a", stamped)
    assert admitted.manifest.weights_digest == read_manifest(stamped).weights_digest


def test_one_changed_byte_in_the_weights_is_refused(home, stamped):
    weights = stamped / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused(home, stamped, r"model\.safetensors")


def test_a_file_swapped_after_one_start_is_found_at_the_next(home, stamped):
    door = admission(home)
    door.admit("a", stamped)
    (stamped / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(AdmissionError, match=r"chat_template\.jinja"):
        door.admit("a", stamped)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_swapped_between_the_verification_and_the_loading_is_refused(home, stamped, name):
    admitted = admission(home).admit("a", stamped)
    admitted.unswapped("a")
    genuine, other = stamped / name, stamped.parent / "other"
    was = genuine.stat()
    shutil.copy2(genuine, other)
    data = bytearray(other.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(genuine)
    with pytest.raises(AdmissionError, match=f"{name} in .* changed between the verification"):
        admitted.unswapped("a")


def test_a_file_swapped_and_swapped_back_while_it_was_loaded_is_refused(home, stamped):
    door = admission(home)
    admitted = door.admit("a", stamped)
    weights = stamped / "model.safetensors"
    genuine, was = weights.read_bytes(), weights.stat()
    weights.write_bytes(bytes(len(genuine)))
    weights.write_bytes(genuine)
    os.utime(weights, ns=(was.st_atime_ns, was.st_mtime_ns))
    with pytest.raises(AdmissionError, match=r"model\.safetensors in .* changed between"):
        admitted.unswapped("a")
    again = door.admit("a", stamped)  # a second engine of the same checkpoint
    again.unswapped("a")
    with pytest.raises(AdmissionError, match=r"model\.safetensors in .* changed between"):
        admitted.unswapped("a")  # and the first one loaded what it loaded all the same


def test_a_hallmark_under_a_policy_that_decides_nothing_cannot_be_made(
    home, stamped, passing_verdict
):
    from registry.signing import SigningError

    manifest = read_manifest(stamped)
    trivial = passing_verdict(manifest.weights_digest).model_copy(update={"findings": ()})
    with pytest.raises(SigningError, match="required"):
        seal(trivial, manifest, local_key(home))


def test_a_manifest_made_to_fit_other_weights_is_refused(home, stamped):
    path = stamped / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["weights_digest"] = "sha256:" + "0" * 64
    path.write_text(json.dumps(manifest))
    refused(home, stamped, "weights")


def test_a_folder_without_a_manifest_is_refused(home, tmp_path):
    refused(home, tmp_path, "manifest")


def test_a_checkpoint_that_was_never_gated_is_refused_with_the_command_to_run(
    home, tiny_checkpoint
):
    refused(home, tiny_checkpoint, r"hallmark gate .* --against champion")


def test_a_hallmark_of_an_untrusted_key_is_refused(home, stamped, tmp_path, passing_verdict):
    manifest = read_manifest(stamped)
    stranger = SigningKey.generate(tmp_path / "stranger.pem")
    write_hallmark(stamped, seal(passing_verdict(manifest.weights_digest), manifest, stranger))
    refused(home, stamped, r"key|sign")
    trust_key(home, stranger.public_pem, "colleague")
    assert admission(home).admit("a", stamped).key_id == stranger.key_id


def test_a_policy_that_is_not_good_enough_to_serve_is_refused(
    stamped, tmp_path, home, passing_verdict
):
    other = Home.at(tmp_path / "other")
    trust_key(other, local_key(home).public_pem, "colleague")
    refused(other, stamped, "test-policy .* is not allowed here")


def test_a_verdict_that_is_not_pass_cannot_even_be_sealed(home, stamped, passing_verdict):
    from registry.signing import SigningError

    manifest = read_manifest(stamped)
    failing = passing_verdict(manifest.weights_digest).model_copy(update={"status": Status.FAIL})
    with pytest.raises(SigningError, match="FAIL"):
        seal(failing, manifest, local_key(home))


def test_a_revoked_hallmark_is_refused(home, stamped):
    digest = envelope_digest(read_hallmark(stamped))
    refused(home, stamped, "revoked", revoked={digest})


def serve_command(home: Home, folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "hallmark", "--home", str(home.root), "serve",
            "--port", str(port), "--variant", f"a={folder}",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_server_refuses_unstamped_weights_with_one_line_and_starts_no_engine(
    home, tiny_checkpoint
):
    outcome = serve_command(home, tiny_checkpoint, 0)
    assert outcome.returncode == 4
    assert "Traceback" not in outcome.stderr
    assert "variant 'a' is refused" in outcome.stderr.strip().splitlines()[-1]
    assert not (home.root / "logs").exists()


def test_a_busy_port_is_one_clear_error_before_anything_else(home, stamped):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = serve_command(home, stamped, port)
        assert outcome.returncode == 4
        assert f"port {port} on 127.0.0.1 is in use" in outcome.stderr
        assert "Traceback" not in outcome.stderr
        with (
            pytest.raises(ServeError, match="choose another with --port"),
            listening("127.0.0.1", port),
        ):
            pass
