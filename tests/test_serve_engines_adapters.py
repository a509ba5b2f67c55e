"""A LoRA adapter answers only upon the base that it was gated with, and both need a hallmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from commands.serve import variant_plan
from commands.session import Session
from registry.checkpoint import CheckpointError, Lineage, Manifest, publish, read_manifest
from registry.home import Home
from registry.signing import seal, write_hallmark
from registry.trust import local_key, trust_policy
from serve.admission import Admission, AdmissionError
from tests.conftest import make_verdict

CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base",
    "bias": "none",
    "r": 8, "lora_alpha": 64, "target_modules": ["q_proj"], "inference_mode": True,
}  # fmt: skip


def make_adapter(folder: Path, base: Manifest, home: Home | None, *, seed: int = 0) -> Path:
    """A published adapter for the tiny model's queries, random and large; with a hallmark
    where a home is given."""
    rng = np.random.default_rng(seed)
    staging = folder.with_name(folder.name + "-staging")
    staging.mkdir(parents=True)
    (staging / "adapter_config.json").write_text(json.dumps(CONFIG))
    weights = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight": rng.normal(
            size=shape
        ).astype(np.float32)
        for layer in (0, 1)
        for part, shape in (("A", (8, 64)), ("B", (64, 8)))
    }
    save_file(weights, staging / "adapter_model.safetensors")
    lineage = Lineage(name=folder.name, stage="sft", parent_digest=base.weights_digest)
    manifest = publish(staging, folder, lineage)
    if home is not None:
        verdict = make_verdict(manifest.weights_digest)
        trust_policy(home, verdict.policy_digest, verdict.policy_name)
        write_hallmark(folder, seal(verdict, manifest, local_key(home)))
    return folder


@pytest.fixture
def adapter(hallmarked_checkpoint: Path, tmp_path: Path, home: Home) -> Path:
    return make_adapter(tmp_path / "adapter", read_manifest(hallmarked_checkpoint), home)


@pytest.fixture
def door(home: Home) -> Admission:
    return Admission(home, lambda: frozenset())


def test_an_adapter_is_admitted_with_its_base(door, adapter, hallmarked_checkpoint):
    admitted = door.admit("x", adapter, hallmarked_checkpoint)
    assert admitted.manifest.weights_digest == read_manifest(adapter).weights_digest
    assert admitted.manifest.is_adapter
    assert not read_manifest(hallmarked_checkpoint).is_adapter


def test_without_its_base_it_is_refused_with_the_bases_name(door, adapter, hallmarked_checkpoint):
    digits = read_manifest(hallmarked_checkpoint).weights_digest.removeprefix("sha256:")[:12]
    with pytest.raises(AdmissionError, match=rf"is an adapter; .* `hallmark gate {digits}`"):
        door.admit("x", adapter)


def test_without_its_bases_hallmark_it_is_refused(door, adapter, hallmarked_checkpoint):
    (hallmarked_checkpoint / "hallmark.json").unlink()
    with pytest.raises(AdmissionError, match=r"the base of adapter adapter: .* no hallmark"):
        door.admit("x", adapter, hallmarked_checkpoint)


def test_without_its_own_hallmark_it_is_refused(door, hallmarked_checkpoint, tmp_path):
    bare = make_adapter(tmp_path / "bare", read_manifest(hallmarked_checkpoint), None)
    with pytest.raises(AdmissionError, match=r"bare .* is not admitted: it has no hallmark"):
        door.admit("x", bare, hallmarked_checkpoint)


def test_upon_another_base_than_it_was_gated_with_it_is_refused(
    door, hallmarked_checkpoint, tmp_path, home
):
    stranger = read_manifest(hallmarked_checkpoint).model_copy(
        update={"weights_digest": "sha256:" + "7" * 64}
    )
    adapter = make_adapter(tmp_path / "other", stranger, home)
    with pytest.raises(AdmissionError, match=r"was gated upon base 777777777777, and .* holds"):
        door.admit("x", adapter, hallmarked_checkpoint)


def test_a_base_whose_file_was_swapped_refuses_its_adapters(door, adapter, hallmarked_checkpoint):
    (hallmarked_checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(AdmissionError, match=r"chat_template\.jinja"):
        door.admit("x", adapter, hallmarked_checkpoint)


def test_a_whole_checkpoint_has_no_base(door, hallmarked_checkpoint):
    with pytest.raises(AdmissionError, match="is no adapter, so it has no base"):
        door.admit("x", hallmarked_checkpoint, hallmarked_checkpoint)


def test_an_adapter_is_not_published_without_saying_whose_it_is(tmp_path):
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "adapter_config.json").write_text('{"r": 8}')
    (staging / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="its base's weights digest as its parent"):
        publish(staging, tmp_path / "x", Lineage(name="x", stage="sft"))


def test_the_server_finds_the_base_of_an_adapter_in_the_ledger(
    adapter, hallmarked_checkpoint, home
):
    session = Session.open(home.root, None)
    plan = variant_plan(session, f"x={adapter}:0.5")
    assert (plan.base, plan.weight) == (hallmarked_checkpoint, 0.5)
    assert variant_plan(session, f"b={hallmarked_checkpoint}").base is None
    session.ledger.set_alias(
        "champion", read_manifest(hallmarked_checkpoint).weights_digest, by="t", reason=""
    )
    assert variant_plan(session, "c=champion").follows == "champion"
