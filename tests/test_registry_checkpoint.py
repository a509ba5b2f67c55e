"""Publishing and verifying checkpoints: what is refused, and in which words."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.checkpoint import (
    CheckpointError,
    DatasetRef,
    FileEntry,
    Lineage,
    publish,
    read_manifest,
    verify,
    weights_digest,
)
from registry.records import canonical_json
from registry.remote import fetch, write_back

LINEAGE = Lineage(name="small", stage="import", seed=7)


def stage(folder: Path, weights: bytes = b"weights") -> Path:
    """A folder that looks like a checkpoint to the registry, which never opens the weights."""
    (folder / "nested").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "nested" / "extra.json").write_text("{}")
    (folder / "README.md").write_text("a model card")
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    publish(stage(tmp_path / "staging"), tmp_path / "published" / "small", LINEAGE)
    return tmp_path / "published" / "small"


def rewrite_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    body = json.loads((folder / "manifest.json").read_text())
    change(body)
    (folder / "manifest.json").write_text(json.dumps(body))


def test_the_weights_digest_is_sha256_over_the_sorted_pairs_of_path_and_sha256() -> None:
    files = {
        "b": FileEntry(sha256="0" * 64, size_bytes=1),
        "a": FileEntry(sha256="f" * 64, size_bytes=2),
    }
    by_hand = f'[["a","{"f" * 64}"],["b","{"0" * 64}"]]'.encode()
    assert weights_digest(files) == "sha256:" + hashlib.sha256(by_hand).hexdigest()


def test_a_published_checkpoint_verifies_and_its_manifest_tells_the_lineage(
    tmp_path: Path,
) -> None:
    lineage = Lineage(
        name="child",
        stage="sft",
        parent_digest="sha256:" + "1" * 64,
        datasets=(DatasetRef(name="support", digest="sha256:" + "2" * 64),),
        optimizer_lineage=("muon",),
        seed=3,
        tokens_seen=1000,
        recipe={"steps": 10},
    )
    published = publish(stage(tmp_path / "staging"), tmp_path / "child", lineage)
    assert verify(tmp_path / "child") == published
    assert set(published.files) == {"config.json", "model.safetensors", "nested/extra.json"}
    assert published.files["model.safetensors"].sha256 == hashlib.sha256(b"weights").hexdigest()
    assert {name: getattr(published, name) for name in Lineage.model_fields} == {
        name: getattr(lineage, name) for name in Lineage.model_fields
    }
    assert published.versions["python"].startswith("3.")
    assert published.code_revision
    assert not (tmp_path / "staging").exists()


def test_the_manifest_on_disk_is_canonical_json_so_that_its_sha256_can_be_signed(
    checkpoint: Path,
) -> None:
    on_disk = (checkpoint / "manifest.json").read_bytes()
    assert on_disk == canonical_json(read_manifest(checkpoint))


def test_the_weights_digest_does_not_depend_on_name_or_time(tmp_path: Path) -> None:
    one = publish(stage(tmp_path / "s1"), tmp_path / "one", LINEAGE)
    two = publish(
        stage(tmp_path / "s2"), tmp_path / "two", LINEAGE.model_copy(update={"name": "x"})
    )
    assert one.weights_digest == two.weights_digest


def test_one_damaged_byte_in_the_weights_is_refused_by_name(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(CheckpointError, match=r"changed model\.safetensors; restore"):
        verify(checkpoint)


def test_missing_and_added_files_are_named_together(checkpoint: Path) -> None:
    (checkpoint / "nested" / "extra.json").unlink()
    (checkpoint / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"missing nested/extra\.json; added tokenizer\.json"):
        verify(checkpoint)


@pytest.mark.parametrize("name", ["README.md", "hallmark.json"])
def test_the_model_card_and_the_hallmark_may_change_after_publication(
    checkpoint: Path, name: str
) -> None:
    (checkpoint / name).write_text("written later")
    verify(checkpoint)


def test_only_the_model_card_at_the_top_stands_outside_the_digest(checkpoint: Path) -> None:
    (checkpoint / "nested" / "README.md").write_text("no model card")
    with pytest.raises(CheckpointError, match=r"added nested/README\.md"):
        verify(checkpoint)


def test_a_manifest_whose_file_entry_was_altered_to_fit_other_weights_is_tampered_with(
    checkpoint: Path,
) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"weightz")
    other = hashlib.sha256(b"weightz").hexdigest()
    rewrite_manifest(
        checkpoint, lambda body: body["files"]["model.safetensors"].update(sha256=other)
    )
    with pytest.raises(CheckpointError, match=r"manifest\.json was tampered with: it says"):
        verify(checkpoint)


def test_a_manifest_that_claims_another_weights_digest_is_tampered_with(checkpoint: Path) -> None:
    rewrite_manifest(checkpoint, lambda body: body.update(weights_digest="sha256:" + "a" * 64))
    with pytest.raises(CheckpointError, match="says weights digest aaaaaaaaaaaa, but its files"):
        verify(checkpoint)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/passwd", "nested/../../x", "a\\b", "", "./config.json"]
)
def test_a_manifest_key_that_leaves_the_folder_is_refused(checkpoint: Path, name: str) -> None:
    entry = {"sha256": "0" * 64, "size_bytes": 0}
    rewrite_manifest(checkpoint, lambda body: body["files"].update({name: entry}))
    with pytest.raises(CheckpointError, match="which no manifest may"):
        read_manifest(checkpoint)


def test_an_unreadable_manifest_names_the_key(checkpoint: Path) -> None:
    rewrite_manifest(checkpoint, lambda body: body.update(seed="seven"))
    with pytest.raises(CheckpointError, match=r"cannot be read \(seed: Input should be a valid"):
        verify(checkpoint)


def test_a_folder_without_manifest_and_no_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        verify(stage(tmp_path / "staging"))
    with pytest.raises(CheckpointError, match="no checkpoint folder at"):
        verify(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "pkl", "ckpt", "PT"])
def test_pickles_are_refused_at_publication_and_afterwards(tmp_path: Path, suffix: str) -> None:
    staging = stage(tmp_path / "staging")
    (staging / f"model.{suffix}").write_bytes(b"cos\nsystem\n")
    with pytest.raises(CheckpointError, match=f"holds model.{suffix}: pickled files can run code"):
        publish(staging, tmp_path / "published", LINEAGE)
    (staging / f"model.{suffix}").unlink()
    publish(staging, tmp_path / "published", LINEAGE)
    (tmp_path / "published" / f"model.{suffix}").write_bytes(b"cos\nsystem\n")
    with pytest.raises(CheckpointError, match="pickled files"):
        verify(tmp_path / "published")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_configuration_or_safetensors_is_not_published(
    tmp_path: Path, missing: str
) -> None:
    staging = stage(tmp_path / "staging")
    (staging / missing).unlink()
    with pytest.raises(CheckpointError, match=f"has no .*{Path(missing).suffix}"):
        publish(staging, tmp_path / "published", LINEAGE)
    assert staging.exists()
    assert not (tmp_path / "published").exists()


def test_a_link_that_leaves_the_folder_is_refused_even_with_the_right_bytes(
    checkpoint: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.safetensors"
    shutil.move(checkpoint / "model.safetensors", outside)
    for target in (outside, checkpoint / "model.safetensors", checkpoint / "nested"):
        (checkpoint / "model.safetensors").unlink(missing_ok=True)
        (checkpoint / "model.safetensors").symlink_to(target)
        with pytest.raises(CheckpointError, match="is a link that leaves the checkpoint folder"):
            verify(checkpoint)


def test_a_named_pipe_in_the_folder_is_refused_and_never_opened(checkpoint: Path) -> None:
    os.mkfifo(checkpoint / "tokenizer.json")
    with pytest.raises(CheckpointError, match="neither file nor folder"):
        verify(checkpoint)


@pytest.mark.parametrize("step", ["registry.checkpoint.sync", "registry.checkpoint.put_in_place"])
def test_an_interrupted_publication_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    staging = stage(tmp_path / "staging")
    before = sorted(path.relative_to(staging) for path in staging.rglob("*"))

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish(staging, tmp_path / "published", LINEAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["staging"]
    assert sorted(path.relative_to(staging) for path in staging.rglob("*")) == before
    publish(staging, tmp_path / "published", LINEAGE)
    verify(tmp_path / "published")


def test_publishing_the_same_again_changes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    first = read_manifest(checkpoint)
    again = publish(stage(tmp_path / "again"), checkpoint, LINEAGE)
    assert again == first == verify(checkpoint)
    assert not (tmp_path / "again").exists()


def test_a_taken_place_is_refused_and_stays_as_it_was(checkpoint: Path, tmp_path: Path) -> None:
    first = read_manifest(checkpoint)
    other = stage(tmp_path / "other", b"other weights")
    with pytest.raises(CheckpointError, match="already holds checkpoint small"):
        publish(other, checkpoint, LINEAGE)
    assert verify(checkpoint) == first
    assert not (other / "manifest.json").exists()


def test_a_hallmark_copied_along_with_a_parent_is_dropped(tmp_path: Path) -> None:
    staging = stage(tmp_path / "staging")
    (staging / "hallmark.json").write_text("{}")
    publish(staging, tmp_path / "published", LINEAGE)
    assert not (tmp_path / "published" / "hallmark.json").exists()


def test_staging_on_another_file_system_is_copied_and_then_renamed(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    staging = memory / f"hallmark-test-{os.getpid()}"
    try:
        published = publish(stage(staging), tmp_path / "published", LINEAGE)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    assert verify(tmp_path / "published") == published
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def upload(folder: Path, uri: str) -> None:
    import fsspec

    store, root = fsspec.core.url_to_fs(uri)
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def test_a_local_checkpoint_is_localised_where_it_stands(checkpoint: Path, tmp_path: Path) -> None:
    assert fetch(str(checkpoint), tmp_path / "cache") == checkpoint
    assert fetch(checkpoint.as_uri(), tmp_path / "cache") == checkpoint
    assert not (tmp_path / "cache").exists()


def test_a_remote_checkpoint_is_fetched_once_and_its_hallmark_each_time(
    checkpoint: Path, tmp_path: Path
) -> None:
    upload(checkpoint, "memory://bucket/fetched")
    heard: list[tuple[float, int]] = []
    fetched = fetch("memory://bucket/fetched", tmp_path / "cache", lambda *said: heard.append(said))
    assert verify(fetched) == verify(checkpoint)
    total = sum(entry.size_bytes for entry in verify(checkpoint).files.values())
    assert heard == sorted(heard)
    assert heard[-1] == (total, total)
    assert not (fetched / "hallmark.json").exists()
    inode = (fetched / "model.safetensors").stat().st_ino
    (checkpoint / "hallmark.json").write_text("{}")
    upload(checkpoint, "memory://bucket/fetched")
    assert fetch("memory://bucket/fetched", tmp_path / "cache") == fetched
    assert (fetched / "hallmark.json").read_text() == "{}"
    assert (fetched / "model.safetensors").stat().st_ino == inode


def test_a_copys_own_hallmark_stays_where_the_address_has_none(
    checkpoint: Path, tmp_path: Path
) -> None:
    upload(checkpoint, "memory://bucket/bare")
    fetched = fetch("memory://bucket/bare", tmp_path / "cache")
    (fetched / "hallmark.json").write_text("signed here")
    assert fetch("memory://bucket/bare", tmp_path / "cache") == fetched
    assert (fetched / "hallmark.json").read_text() == "signed here"
    write_back("memory://bucket/bare", fetched / "hallmark.json")
    again = fetch("memory://bucket/bare", tmp_path / "another")
    assert (again / "hallmark.json").read_text() == "signed here"


def test_an_address_with_a_password_is_refused_without_repeating_it(tmp_path: Path) -> None:
    for address in ("ftp://ann:hunter2@store.example/x", "http://store.example/x?sig=hunter2"):
        with pytest.raises(CheckpointError, match=r"store\.example holds a password") as caught:
            fetch(address, tmp_path / "cache")
        assert "hunter2" not in str(caught.value)


def test_a_remote_checkpoint_with_damaged_weights_leaves_nothing_in_the_cache(
    checkpoint: Path, tmp_path: Path
) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"weightz")
    upload(checkpoint, "memory://bucket/damaged")
    with pytest.raises(CheckpointError, match=r"changed model\.safetensors"):
        fetch("memory://bucket/damaged", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_remote_address_without_a_manifest_or_of_an_unknown_kind_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(CheckpointError, match="memory://bucket/empty has no manifest"):
        fetch("memory://bucket/empty", tmp_path / "cache")
    with pytest.raises(CheckpointError, match="cannot be opened: Protocol not known: nowhere"):
        fetch("nowhere://bucket/x", tmp_path / "cache")
