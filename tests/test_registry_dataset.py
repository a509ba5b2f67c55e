"""Dataset versions: the same rows are the same version, and a bad row is named by its line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from registry.conversation import Conversation, Message
from registry.dataset import (
    DatasetError,
    DatasetManifest,
    publish_dataset,
    read_dataset,
    read_jsonl,
    verify_dataset,
    write_jsonl,
)

HELLO = Conversation(
    id="c1",
    messages=(Message(role="user", content="Grüße"), Message(role="assistant", content="hello")),
    source="a test",
    licence="CC0-1.0",
    tags={"intent": "greeting"},
)


def make(staging: Path, root: Path, rows: int = 1, licence: str = "CC0-1.0"):
    write_jsonl(staging / "train.jsonl", [HELLO] * rows)
    write_jsonl(staging / "choices.jsonl", [{"id": 1, "gold": 0}])
    return publish_dataset(
        staging, root, name="support", licence=licence, source="a test", recipe={"seed": 0}
    )


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "train.jsonl"
    assert write_jsonl(path, [HELLO, HELLO]) == 2
    assert list(read_jsonl(path, Conversation)) == [HELLO, HELLO]
    assert "Grüße" in path.read_text()


def test_the_digest_is_sha256_over_the_sorted_pairs_of_name_and_sha256(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path / "staging", tmp_path / "datasets")
    sums = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("choices.jsonl", "train.jsonl")
    }
    by_hand = "[" + ",".join(f'["{name}","{digest}"]' for name, digest in sums.items()) + "]"
    assert manifest.digest == "sha256:" + hashlib.sha256(by_hand.encode()).hexdigest()
    assert folder.name == f"support-{manifest.digest[7:19]}"
    assert {name: file.rows for name, file in manifest.files.items()} == {
        "choices.jsonl": 1,
        "train.jsonl": 1,
    }
    assert verify_dataset(folder) == read_dataset(folder) == manifest


def test_the_same_rows_reuse_the_folder_and_other_rows_make_another(tmp_path: Path) -> None:
    first, manifest = make(tmp_path / "one", tmp_path / "datasets")
    again, reused = make(tmp_path / "two", tmp_path / "datasets")
    other, _ = make(tmp_path / "three", tmp_path / "datasets", rows=2)
    assert (again, reused) == (first, manifest)
    assert other != first
    assert not (tmp_path / "two").exists()


def test_the_same_rows_under_another_licence_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "one", tmp_path / "datasets")
    with pytest.raises(DatasetError, match=r"same rows under the licence .*, not 'MIT'"):
        make(tmp_path / "two", tmp_path / "datasets", licence="MIT")


def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_jsonl(path, [HELLO])
    for bad, words in (
        (b"{not json\n", r"train\.jsonl:3: Invalid JSON"),
        (b'{"id": "c2"}\n', r"train\.jsonl:3: messages: Field required; mend the row"),
        (b'{"id": "\xff"}\n', r"train\.jsonl:3: "),
    ):
        write_jsonl(path, [HELLO])
        with path.open("ab") as file:
            file.write(b"\n" + bad)
        rows = read_jsonl(path, Conversation)
        assert next(rows) == HELLO
        with pytest.raises(DatasetError, match=words):
            next(rows)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.jsonl cannot be opened: No such file"):
        list(read_jsonl(tmp_path / "gone.jsonl", Conversation))


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_jsonl(path, [HELLO])

    def rows():
        yield HELLO
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, rows())
    assert list(read_jsonl(path, Conversation)) == [HELLO]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "train.jsonl").write_text("{}\n"), "train.jsonl was changed"),
        (lambda folder: (folder / "train.jsonl").unlink(), "train.jsonl is missing"),
        (lambda folder: (folder / "x.jsonl").write_text(""), "x.jsonl is not in the manifest"),
        (lambda folder: (folder / "dataset.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "dataset.json").unlink(), "no complete dataset"),
    ],
)
def test_a_damaged_dataset_is_refused(tmp_path: Path, damage, words: str) -> None:
    folder, _ = make(tmp_path / "staging", tmp_path / "datasets")
    damage(folder)
    with pytest.raises(DatasetError, match=words):
        verify_dataset(folder)


def test_an_altered_digest_is_refused(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path / "staging", tmp_path / "datasets")
    altered: DatasetManifest = manifest.model_copy(update={"digest": "sha256:" + "0" * 64})
    (folder / "dataset.json").write_text(altered.model_dump_json())
    with pytest.raises(DatasetError, match="was altered"):
        read_dataset(folder)


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "staging" / "train.jsonl", [HELLO])
    with pytest.raises(DatasetError, match="dataset name"):
        publish_dataset(
            tmp_path / "staging", tmp_path, name=name, licence="MIT", source="x", recipe={}
        )


def test_a_folder_that_holds_more_than_jsonl_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "staging" / "train.jsonl", [HELLO])
    (tmp_path / "staging" / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match=r"notes\.txt is no JSONL file"):
        publish_dataset(
            tmp_path / "staging", tmp_path, name="x", licence="MIT", source="x", recipe={}
        )
