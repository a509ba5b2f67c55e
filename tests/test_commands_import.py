"""A model that was trained elsewhere is taken in, an adapter with its base, and then measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hallmark
from commands.measuring import HERE
from commands.session import Session
from commands.switch import measure_golden
from eval.runner import open_runner
from eval.torch_runner import TorchRunner
from registry.checkpoint import CheckpointError, publish, read_manifest
from registry.home import Home
from tests.conftest import write_tiny_model
from tests.test_serve_engines_adapters import CONFIG, make_adapter

TEXTS = [("Where is my order", " 4821?"), ("", "Thank you!")]
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(home: Home, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str | Path) -> tuple[int, str]:
        code = hallmark.main(["--home", str(home.root), *map(str, arguments)])
        return code, " ".join(capsys.readouterr().err.split())

    return run


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A hub's cache: links into its blobs, with a pickle and a hidden folder beside them."""
    blobs = tmp_path / "models--us--it" / "blobs"
    write_tiny_model(blobs, seed=3)
    folder = blobs.parent / "snapshots" / "last"
    folder.mkdir(parents=True)
    for path in blobs.iterdir():
        (folder / path.name).symlink_to(Path("..", "..", "blobs", path.name))
    (folder / "optimizer.pt").write_bytes(b"pickle")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    return folder


def adapter_folder(path: Path, base: Path) -> Path:
    """A LoRA as peft saves it, not published."""
    published = make_adapter(path.with_name("published"), read_manifest(base), None)
    path.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(published / name, path / name)
    return path


def test_a_model_from_elsewhere_becomes_a_checkpoint_without_its_pickles(home, command, elsewhere):
    code, said = command("import", elsewhere, "--name", "candidate")
    assert code == 0
    assert "left out optimizer.pt: pickled files can run code" in said
    assert "next: hallmark gate candidate" in said
    folder = Session.open(home.root, None).checkpoint("candidate")
    manifest = read_manifest(folder)
    assert (manifest.stage, manifest.name) == ("import", "candidate")
    assert "optimizer.pt" not in manifest.files
    assert not any(name.startswith(".git") for name in manifest.files)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert open_runner(folder).facts.weights_digest == manifest.weights_digest
    assert command("import", elsewhere, "--name", "candidate")[0] == 0  # once more changes nothing


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden"])
def test_a_name_cannot_lead_out_of_the_home(home, command, elsewhere, name):
    code, said = command("import", elsewhere, "--name", name)
    assert (code, "is no name" in said) == (4, True)
    assert not (home.root / "outside").exists()


def test_a_link_that_leaves_the_folder_is_not_followed(home, command, elsewhere, tmp_path):
    (tmp_path / "key").write_text("secret")
    (elsewhere / "notes.txt").symlink_to(tmp_path / "key")
    code, said = command("import", elsewhere, "--name", "candidate")
    assert (code, "notes.txt is a link that leaves the folder" in said) == (4, True)
    assert not (home.checkpoints / "candidate").exists()


def test_nothing_half_is_left_where_it_fails(home, command, tmp_path):
    (tmp_path / "empty").mkdir()
    assert command("import", tmp_path / "nowhere", "--name", "x")[0] == 4
    code, said = command("import", tmp_path / "empty", "--name", "x")
    assert (code, "no config.json" in said) == (4, True)
    assert list(home.checkpoints.iterdir()) == []


def test_an_adapter_comes_with_its_base_and_a_model_without(home, command, elsewhere, tmp_path):
    assert command("import", elsewhere, "--name", "base")[0] == 0
    adapter = adapter_folder(tmp_path / "adapter", home.checkpoints / "base")
    code, said = command("import", adapter, "--name", "polite")
    assert (code, "name the checkpoint under it with --base" in said) == (4, True)
    code, said = command("import", elsewhere, "--name", "other", "--base", "base")
    assert (code, "leave --base out" in said) == (4, True)
    assert command("import", adapter, "--name", "polite", "--base", "base")[0] == 0
    session = Session.open(home.root, None)
    folder = session.checkpoint("polite")
    assert session.base_of(read_manifest(folder)) == home.checkpoints / "base"
    runner = HERE.opener(session)(folder)
    assert runner.facts.weights_digest == read_manifest(folder).weights_digest


def test_an_adapter_is_measured_as_its_products_added_to_its_bases_weights(
    tiny_checkpoint, tmp_path
):
    """W + alpha/r B A (Hu et al. 2021, section 4.1), added by hand."""
    adapter = make_adapter(tmp_path / "adapter", read_manifest(tiny_checkpoint), None)
    by_hand = tmp_path / "by-hand"
    shutil.copytree(tiny_checkpoint, by_hand / "files")
    weights = load_file(by_hand / "files" / "model.safetensors")
    parts = load_file(adapter / "adapter_model.safetensors")
    for layer in (0, 1):
        name = f"model.layers.{layer}.self_attn.q_proj"
        a, b = (parts[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        weights[f"{name}.weight"] += CONFIG["lora_alpha"] / CONFIG["r"] * (b @ a)
    save_file(weights, by_hand / "files" / "model.safetensors", metadata={"format": "pt"})
    lineage = read_manifest(tiny_checkpoint)
    publish(by_hand / "files", by_hand / "published", lineage)
    expected = TorchRunner(by_hand / "published").continuations(TEXTS)
    plain = TorchRunner(tiny_checkpoint).continuations(TEXTS)
    found = TorchRunner(adapter, base=tiny_checkpoint).continuations(TEXTS)
    for one, other, without in zip(found, expected, plain, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert abs(one.logprob - without.logprob) > 0.01
    assert (
        measure_golden(adapter, tiny_checkpoint).weights_digest
        == read_manifest(adapter).weights_digest
    )


def test_an_adapter_is_not_measured_without_its_own_base(
    tiny_checkpoint, make_tiny_checkpoint, tmp_path
):
    adapter = make_adapter(tmp_path / "adapter", read_manifest(tiny_checkpoint), None)
    with pytest.raises(CheckpointError, match="adapter is an adapter, and its base"):
        open_runner(adapter)
    with pytest.raises(CheckpointError, match=r"is an adapter upon .* holds"):
        open_runner(adapter, make_tiny_checkpoint("other", seed=9))


def test_an_adapter_that_does_not_fit_its_base_says_so(tiny_checkpoint, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", read_manifest(tiny_checkpoint), None)
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "adapter_config.json").write_text(json.dumps(CONFIG))
    parts = load_file(adapter / "adapter_model.safetensors")
    wrong = {name: torch.zeros(3, 5) for name in parts}
    save_file(wrong, staging / "adapter_model.safetensors")
    publish(staging, tmp_path / "wrong", read_manifest(adapter))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_runner(tmp_path / "wrong", tiny_checkpoint)


def test_the_same_adapter_upon_another_base_is_another_checkpoint(
    tiny_checkpoint, make_tiny_checkpoint, tmp_path
):
    other = make_tiny_checkpoint("other", seed=9)
    one, two = (
        read_manifest(make_adapter(tmp_path / name, read_manifest(base), None))
        for name, base in (("one", tiny_checkpoint), ("two", other))
    )
    assert one.files == two.files
    assert one.weights_digest != two.weights_digest
