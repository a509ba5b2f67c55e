"""The loop: resuming bit for bit, stopping early, interruption, several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train.loop import Counters, Diverged, Interrupted, StepLoss, Training, run
from train.model import Scorer, Shape, create, flops_per_token
from train.optim import MUON, MuonAdamW
from train.packing import Document
from train.parallel import World
from train.recipe import Recipe
from train.steps import BitsPerByte, Engine, Likelihood
from train.tracking import Untracked

SHAPE = Shape(
    width=32, layers=2, heads=2, kv_heads=1, head_dim=16, mlp_width=48, vocab_size=264, context=64
)


def make_recipe(**changes: Any) -> Recipe:
    body: dict[str, Any] = {
        "stage": "sft", "steps": 8, "tokens_per_batch": 128, "validation": {"every_steps": 4},
    }  # fmt: skip
    return Recipe.model_validate(body | changes)


def documents(num: int = 24) -> list[Document]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(num):
        ids = rng.integers(3, 30, size=int(rng.integers(6, 40))).astype(np.int32)
        made.append(Document(ids, rng.random(len(ids)) < 0.7))
    return made


def make_training(folder: Path, recipe: Recipe, **changes: Any) -> Training:
    network = create(SHAPE, eos=2, pad=0, seed=0)
    world = World(rank=0, size=1, device=torch.device("cpu"))
    engine = Engine(Scorer(network), world, "fp32", 0)
    bytes_per_token = np.ones(SHAPE.vocab_size, dtype=np.int64)
    fields: dict[str, Any] = {
        "recipe": recipe,
        "model": network,
        "optimizer": MuonAdamW(dict(network.named_parameters()), recipe.optimizer, MUON),
        "objective": Likelihood(engine, documents(), recipe.tokens_per_batch, 0),
        "validate": BitsPerByte(engine, documents(4), bytes_per_token, 128, 1000),
        "state": folder / "state",
        "tracker": Untracked(),
        "world": world,
        "flops_per_token": flops_per_token(network, 64),
        "say": lambda line: None,
    }
    return Training(**(fields | changes))


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in training.model.named_parameters()}


def interrupt_after(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            signal.raise_signal(signal.SIGINT)

    return progress


@pytest.mark.parametrize("at", [1, 3, 5, 7])
def test_an_interrupted_and_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, at: int
) -> None:
    whole = make_training(tmp_path / "whole", make_recipe())
    expected = run(whole)
    stopped = make_training(tmp_path / "parts", make_recipe(), progress=interrupt_after(at))
    with pytest.raises(Interrupted):
        run(stopped)
    resumed = make_training(tmp_path / "parts", make_recipe())
    counters = run(resumed)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    assert (counters.step, counters.tokens) == (expected.step, expected.tokens)
    assert counters.best_bpb == expected.best_bpb


def test_ctrl_c_saves_a_state_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=r"interrupted at step 3 of 8.*same command again"):
        run(make_training(tmp_path, make_recipe(), progress=interrupt_after(3)))
    [folder] = (tmp_path / "state").iterdir()
    assert folder.name == "step-00000003"
    assert sorted(f.name for f in folder.iterdir()) == ["counters.json", "state.safetensors"]
    assert json.loads((folder / "counters.json").read_bytes())["step"] == 3


def test_half_written_state_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    unfinished = tmp_path / "state" / ".unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "state.safetensors").write_bytes(b"half")
    assert run(make_training(tmp_path, make_recipe())).step == 8


def test_only_the_newest_state_is_kept(tmp_path: Path) -> None:
    run(make_training(tmp_path, make_recipe(save_every_seconds=1e-9)))
    assert [f.name for f in (tmp_path / "state").iterdir()] == ["step-00000008"]


def test_a_finished_state_is_not_trained_further(tmp_path: Path) -> None:
    first = make_training(tmp_path, make_recipe(save_every_seconds=1e-9))
    run(first)
    second = make_training(tmp_path, make_recipe())
    assert run(second).step == 8
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(second)[name])


def test_the_loss_falls_and_validation_is_in_bits_per_byte(tmp_path: Path) -> None:
    training = make_training(tmp_path, make_recipe(steps=40))
    # A fresh model finds all 264 tokens about equally likely; here each stands for one byte.
    assert training.validate() == pytest.approx(np.log2(264), abs=0.3)
    losses = [line["loss"] for line in run(training).history]
    assert losses[-1] < losses[0]


def test_training_stops_early_and_takes_the_best_weights(tmp_path: Path) -> None:
    values = iter([3.0, 2.0, 2.5, 2.4, 1.0])
    recipe = make_recipe(steps=50, validation={"every_steps": 2, "patience": 2})
    seen: list[dict[str, torch.Tensor]] = []
    training = make_training(tmp_path, recipe)

    def validate() -> float:
        seen.append(weights(training))
        return next(values)

    training.validate = validate
    counters = run(training)
    assert (counters.step, counters.best_step, counters.best_bpb) == (8, 4, 2.0)
    for name, tensor in seen[1].items():
        assert torch.equal(tensor, weights(training)[name])


def test_a_time_budget_ends_the_training_and_decays_the_rate_by_then(tmp_path: Path) -> None:
    recipe = make_recipe(steps=10**6, max_seconds=0.5)
    counters = run(make_training(tmp_path, recipe))
    assert 0.5 <= counters.seconds < 5
    assert counters.step < 10**6


def test_a_loss_that_is_no_number_ends_with_what_to_change(tmp_path: Path) -> None:
    network = make_training(tmp_path, make_recipe()).model

    def objective(step: int) -> StepLoss:
        loss = sum(p.sum() for p in network.parameters()) * float("nan")
        return StepLoss(loss, float("nan"), 1, 1)  # type: ignore[arg-type]  # sum starts from 0

    training = make_training(tmp_path, make_recipe(), model=network, objective=objective)
    training.optimizer = MuonAdamW(
        dict(network.named_parameters()), training.recipe.optimizer, MUON
    )
    with pytest.raises(Diverged, match="at step 0; lower optimizer"):
        run(training)


def test_counters_survive_json() -> None:
    counters = Counters(step=3, best_bpb=1.5, history=[{"step": 3.0, "loss": 2.0}])
    assert Counters(**json.loads(json.dumps(vars(counters)))) == counters


WORKER = """
import json, sys
sys.path.insert(0, {root!r}); sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
import test_train_loop as t
from train.loop import run
from train.model import Scorer
from train.optim import MUON, MuonAdamW
from train.parallel import join
from train.steps import BitsPerByte, Engine, Likelihood
import numpy as np
shard, folder = sys.argv[1] == "shard", Path(sys.argv[2])
world = join()
recipe = t.make_recipe(shard=shard, save_every_seconds=1e-9)
training = t.make_training(folder, recipe, world=world)
engine = Engine(world.wrap(Scorer(training.model), shard=shard), world, "fp32", 0)
training.objective = Likelihood(engine, t.documents(), recipe.tokens_per_batch, 0)
training.validate = BitsPerByte(engine, t.documents(4), np.ones(264, dtype=np.int64), 128, 1000)
training.optimizer = MuonAdamW(dict(training.model.named_parameters()), recipe.optimizer, MUON)
counters = run(training)
if world.is_first:
    (folder / "history.json").write_text(json.dumps(counters.history))
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("kind", ["copy", "shard"])
def test_two_processes_give_the_loss_and_the_weights_of_one(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import load_file

    root = Path(__file__).resolve().parent.parent
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER.format(root=str(root), tests=str(root / "tests")))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", "0", "--standalone",
        str(worker), kind, str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    alone = make_training(tmp_path / "alone", make_recipe())
    expected = run(alone).history
    found = json.loads((tmp_path / "history.json").read_text())
    for ours, theirs in zip(expected, found, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=2e-3)
        assert theirs["validation_bpb"] == pytest.approx(ours["validation_bpb"], abs=2e-3)
    saved = load_file(tmp_path / "state" / "step-00000008" / "state.safetensors")
    for name, tensor in weights(alone).items():
        assert torch.allclose(saved[f"model/{name}"], tensor, atol=2e-2), name
