"""Jobs end to end on a tiny model: what is published, what is refused, what resumes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.checkpoint import CheckpointError, read_manifest, verify
from registry.conversation import Conversation, Message
from registry.dataset import DatasetError, publish_dataset, write_jsonl
from registry.records import UserError
from train.loop import Interrupted
from train.recipe import Recipe
from train.stages import Job, TrainError, train

COLOURS = ("red", "green", "blue", "black", "white")


def conversations(num: int) -> list[Conversation]:
    return [
        Conversation(
            id=f"c{index}",
            messages=(
                Message(role="user", content=f"Say {COLOURS[index % 5]} {index % 10}."),
                Message(role="assistant", content=f"{COLOURS[index % 5]} {index % 10}"),
            ),
            source="test",
            licence="CC0-1.0",
        )
        for index in range(num)
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    staging = root / "staging"
    write_jsonl(staging / "train.jsonl", conversations(60))
    write_jsonl(staging / "validation.jsonl", conversations(10))
    folder, _ = publish_dataset(
        staging, root, name="colours", licence="CC0-1.0", source="test", recipe={}
    )
    return folder


def recipe(stage: str, **changes: Any) -> Recipe:
    body: dict[str, Any] = {
        "stage": stage, "steps": 4, "tokens_per_batch": 256, "precision": "fp32",
        "validation": {"every_steps": 2}, "track": False,
    }  # fmt: skip
    if stage == "pretrain":
        body["shape"] = {
            "width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16,
            "mlp_width": 48, "vocab_size": 300, "context": 64,
        }  # fmt: skip
    return Recipe.model_validate(body | changes)


def job(folder: Path, made: Recipe, data: Path, parent: Path | None, name: str = "n") -> Job:
    return Job(
        recipe=made,
        data=(data,),
        parent=parent,
        destination=folder / "checkpoints" / name,
        runs=folder / "runs",
        seed=1,
        name=name,
    )


def silently(line: str) -> None:
    return None


@pytest.fixture(scope="module")
def base(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = job(tmp_path_factory.mktemp("base"), recipe("pretrain"), dataset, None, "base")
    train(wanted, say=silently)
    return wanted.destination


def test_pretraining_publishes_a_whole_hugging_face_folder(base: Path, dataset: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    manifest = verify(base)
    assert manifest.stage == "pretrain"
    assert manifest.parent_digest is None
    assert manifest.optimizer_lineage == ("muon+adamw",)
    assert manifest.datasets[0].name == "colours"
    assert manifest.tokens_seen > 0
    assert {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja",
    } <= manifest.files.keys()  # fmt: skip
    config = json.loads((base / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["tie_word_embeddings"] is True
    generation = json.loads((base / "generation_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert generation["eos_token_id"] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    AutoModelForCausalLM.from_pretrained(base)


def test_fine_tuning_keeps_the_tokenizer_and_names_its_parent(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    wanted = job(tmp_path, recipe("sft"), dataset, base)
    lines: list[str] = []
    seen: list[tuple[int, int]] = []
    manifest = train(wanted, progress=lambda *at: seen.append(at), say=lines.append)
    parent = read_manifest(base)
    assert manifest.parent_digest == parent.weights_digest
    assert manifest.optimizer_lineage == ("muon+adamw", "muon+adamw")
    assert manifest.files["tokenizer.json"] == parent.files["tokenizer.json"]
    assert manifest.files["chat_template.jinja"] == parent.files["chat_template.jinja"]
    assert seen[-1] == (4, 4)
    assert any("loss" in line and "bits/byte" in line for line in lines)
    assert not list((tmp_path / "runs").iterdir())


def test_the_same_job_gives_the_same_weights_and_another_seed_others(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    one = train(job(tmp_path / "1", recipe("sft"), dataset, base), say=silently)
    two = train(job(tmp_path / "2", recipe("sft"), dataset, base), say=silently)
    assert one.weights_digest == two.weights_digest
    other = job(tmp_path / "3", recipe("sft"), dataset, base)
    third = train(Job(**{**vars(other), "seed": 2}), say=silently)
    assert third.weights_digest != one.weights_digest


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_an_interrupted_job_leaves_nothing_published_and_goes_on_where_it_was(
    base: Path, dataset: Path, tmp_path: Path, stage: str
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    parent = base if stage == "sft" else None
    wanted = job(tmp_path / "parts", recipe(stage), dataset, parent)
    with pytest.raises(Interrupted, match="same command again"):
        train(wanted, progress=interrupt, say=silently)
    assert not wanted.destination.exists()
    lines: list[str] = []
    resumed = train(wanted, say=lines.append)
    assert "resuming at step 2 of 4" in lines
    whole = train(job(tmp_path / "whole", recipe(stage), dataset, parent), say=silently)
    assert resumed.weights_digest == whole.weights_digest


def preferences(folder: Path) -> Path:
    folder.mkdir()
    prompt = [{"role": "user", "content": "Say red 1."}]

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    write_jsonl(
        folder / "preferences.jsonl",
        [{"prompt": prompt, "chosen": said("red 1 please"), "rejected": said("red 1")}] * 8,
    )
    labels = [
        {"prompt": prompt, "completion": said(text), "label": good}
        for text, good in (("red 1 please", True), ("red 1", False)) * 4
    ]
    write_jsonl(folder / "labels.jsonl", labels)
    return folder


def score(folder: Path, text: str) -> float:
    """Log-probability that the checkpoint answers ``text`` to "Say red 1."."""
    import torch

    from train import data, model
    from train.packing import collate
    from train.tokenizer import load_tokenizer

    messages = [Message(role="user", content="Say red 1.")]
    answer = [Message(role="assistant", content=text)]
    documents = data.completion_documents(load_tokenizer(folder), [messages], [answer], 64)
    batch = collate(documents, 0)
    with torch.no_grad():
        arrays = (batch.ids_BT, batch.targets_BT, batch.supervised_BT)
        found = model.Scorer(model.load(folder))(*map(torch.from_numpy, arrays))
    return float(found.sum())


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_preference_training_moves_towards_what_people_preferred(
    base: Path, dataset: Path, tmp_path: Path, objective: str
) -> None:
    made = recipe(
        "prefer",
        steps=30,
        optimizer={"muon_rate": 0.02, "adam_rate": 0.02},
        prefer={"objective": objective, "mix_weight": 0.1, "mix_tokens": 128},
    )
    wanted = job(tmp_path, made, preferences(tmp_path / "feedback"), base)
    manifest = train(Job(**{**vars(wanted), "data": (*wanted.data, dataset)}), say=silently)
    assert manifest.stage == "prefer"
    assert [d.name for d in manifest.datasets] == ["feedback", "colours"]

    def margin(folder: Path) -> float:
        return score(folder, "red 1 please") - score(folder, "red 1")

    assert margin(wanted.destination) > margin(base) + 0.5


def test_a_fine_tuning_without_parent_and_a_pretraining_with_one_are_refused(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainError, match="needs a parent checkpoint"):
        train(job(tmp_path, recipe("sft"), dataset, None), say=silently)
    with pytest.raises(TrainError, match="starts from nothing"):
        train(job(tmp_path, recipe("pretrain"), dataset, base), say=silently)


def test_a_damaged_parent_is_refused(base: Path, dataset: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        train(job(tmp_path, recipe("sft"), dataset, copy), say=silently)


def _missing(folder: Path) -> Path:
    return folder / "none"


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _broken(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text('{"text": "fine"}\n{"messages": "not a list"}\n')
    return path


def _feedback_only(folder: Path) -> Path:
    return preferences(folder / "feedback")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_missing, "no data at"),
        (_empty, r"has no \*\.jsonl"),
        (_broken, r"rows\.jsonl:2: "),
        (_feedback_only, r"needs train\.jsonl"),
    ],
)
def test_data_that_cannot_be_used_is_named(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    wanted = job(tmp_path, recipe("pretrain"), make(tmp_path), None)
    with pytest.raises(UserError, match=said):
        train(wanted, say=silently)
    assert not wanted.destination.exists()


def test_no_feedback_yet_is_said_plainly(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    write_jsonl(folder / "preferences.jsonl", [])
    made = recipe("prefer", prefer={"objective": "dpo"})
    with pytest.raises(DatasetError, match="no feedback to learn from yet"):
        train(job(tmp_path, made, folder, base), say=silently)


def test_plain_texts_pretrain_as_well(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    write_jsonl(path, [{"id": "b", "text": "It was a dark night. " * 40, "source": "s"}])
    manifest = train(job(tmp_path, recipe("pretrain"), path, None), say=silently)
    assert manifest.datasets[0].name == "books.jsonl"


def test_an_unfinished_adamw_parent_is_continued_with_adamw(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    first = job(tmp_path, recipe("sft", optimizer={"kind": "adamw"}), dataset, base, "first")
    train(first, say=silently)
    second = job(tmp_path, recipe("sft"), dataset, first.destination, "second")
    lineage = train(second, say=silently).optimizer_lineage
    assert lineage == ("muon+adamw", "adamw", "adamw")


def test_where_there_is_a_handbook_pretraining_reads_it_alone(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    write_jsonl(folder / "train.jsonl", conversations(5))
    write_jsonl(folder / "handbook.jsonl", conversations(60))
    with_handbook = train(job(tmp_path / "1", recipe("pretrain"), folder, None), say=silently)
    (folder / "handbook.jsonl").unlink()
    without = train(job(tmp_path / "2", recipe("pretrain"), folder, None), say=silently)
    assert with_handbook.tokens_seen > without.tokens_seen
