"""The one training loop: steps, schedule, validation, saving, resuming.

It does not know what it trains: an ``Objective`` gives the loss of a step's batch, a
``validate`` function the bits per byte. Each step is a function of (weights, optimizer
state, step), so that a training which was interrupted and resumed equals one which was
not, bit for bit (on one machine with one thread count).
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from registry.records import canonical_json
from train.optim import MuonAdamW
from train.parallel import World, full
from train.recipe import Recipe
from train.tracking import Tracker

Progress = Callable[[int, int], None]
PEAK_FLOPS = {"NVIDIA H200": 989e12, "NVIDIA H100": 989e12, "NVIDIA A100": 312e12}
NEVER = float("inf")
KEPT_WEIGHTS = "weights.safetensors"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM after a clean save; the message says how to continue."""


class Diverged(RuntimeError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class StepLoss:
    """``loss`` is what to differentiate; the rest is for reading.

    ``total`` in nats and ``count`` items are summed over this process's share of the batch.
    """

    loss: Tensor
    total: float
    count: int
    tokens: int
    values: Mapping[str, float] = field(default_factory=dict)


class Objective(Protocol):
    """What is trained: the loss of the batch of a step (from 0)."""

    def __call__(self, step: int) -> StepLoss: ...


@dataclass
class Counters:
    """All that a resumed training needs besides tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    optimizer_steps: int = 0
    best_bpb: float | None = None
    best_step: int = 0
    bad_evaluations: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Training:
    """What the loop works on."""

    recipe: Recipe
    model: nn.Module
    optimizer: MuonAdamW
    objective: Objective
    validate: Callable[[], float | None]
    state: Path
    tracker: Tracker
    world: World
    flops_per_token: float
    say: Callable[[str], None] = print
    progress: Progress | None = None

    @property
    def kept(self) -> Path:
        """Where snapshots wait to be published."""
        return self.state.with_name("kept")


def snapshot(training: Training) -> dict[str, Tensor]:
    """All weights, whole and on the CPU, by parameter name."""
    return {name: full(p.detach()).cpu().clone() for name, p in training.model.named_parameters()}


def save_state(training: Training, counters: Counters, best: Mapping[str, Tensor]) -> None:
    """Write everything to a new folder, then put it in the place of the old one."""
    folder = training.state / f"step-{counters.step:08d}"
    tensors = {f"model/{n}": t for n, t in snapshot(training).items()}
    tensors |= {f"best/{n}": t for n, t in best.items()}
    tensors |= {f"optimizer/{n}": t.cpu() for n, t in training.world.whole(training.optimizer)}
    tensors["rng/torch"] = torch.get_rng_state()
    if training.world.is_first and not folder.exists():
        unfinished = training.state / ".unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_file({n: t.contiguous() for n, t in tensors.items()}, unfinished / "state.safetensors")
        (unfinished / "counters.json").write_bytes(canonical_json(vars(counters)))
        unfinished.replace(folder)
        for other in training.state.glob("step-*"):
            if other != folder:
                shutil.rmtree(other)
    training.world.wait()


def load_state(training: Training) -> tuple[Counters, dict[str, Tensor]] | None:
    """Restore the newest state in place; None where there is none."""
    folders = sorted(training.state.glob("step-*"))
    if not folders:
        return None
    tensors = load_file(folders[-1] / "state.safetensors")
    counters = Counters(**json.loads((folders[-1] / "counters.json").read_bytes()))

    def below(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    training.world.assign(dict(training.model.named_parameters()), below("model/"))
    training.world.restore(training.optimizer, below("optimizer/"), counters.optimizer_steps)
    torch.set_rng_state(tensors["rng/torch"])
    return counters, below("best/")


def keep_snapshot(training: Training, counters: Counters) -> None:
    """Write the weights of this step beside the state, and drop all but the newest so many."""
    weights = snapshot(training)
    if training.world.is_first:
        folder = training.kept / f"step-{counters.step:08d}"
        unfinished = training.kept / ".unfinished"
        for left_over in (folder, unfinished):
            shutil.rmtree(left_over, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_file({n: t.contiguous() for n, t in weights.items()}, unfinished / KEPT_WEIGHTS)
        (unfinished / "counters.json").write_bytes(canonical_json({"tokens": counters.tokens}))
        unfinished.replace(folder)
        for old in sorted(training.kept.glob("step-*"))[: -training.recipe.keep_last]:
            shutil.rmtree(old)
    training.world.wait()


@dataclass(frozen=True)
class Kept:
    """The weights of an earlier step, whole and on the CPU, and the tokens seen by then."""

    step: int
    tokens: int
    weights: Mapping[str, Tensor]


def kept_snapshots(training: Training) -> Iterator[Kept]:
    """Those that were kept, earliest first, one at a time."""
    for folder in sorted(training.kept.glob("step-*")):
        tokens = json.loads((folder / "counters.json").read_bytes())["tokens"]
        step = int(folder.name.removeprefix("step-"))
        yield Kept(step, tokens, load_file(folder / KEPT_WEIGHTS))


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C is the usual one."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(training: Training) -> Counters:
    """Train to the end of the recipe, from the saved state where there is one.

    The model ends with its best weights where the recipe stops early, else with its
    last. Raises Interrupted after saving, Diverged on a loss that is no number.
    """
    recipe, world = training.recipe, training.world
    restored = load_state(training)
    counters, best = restored or (Counters(), {})
    if restored:
        training.say(f"resuming at step {counters.step} of {recipe.steps}")
    began = time.monotonic() - counters.seconds
    last_save = time.monotonic()
    lines = _Lines(training)
    with _asked_to_stop() as asked:
        while not _finished(training, counters):
            done = max(
                counters.step / recipe.steps, counters.seconds / (recipe.max_seconds or NEVER)
            )
            step_loss = training.objective(counters.step)
            step_loss.loss.backward()  # type: ignore[no-untyped-call]  # torch has no hint here
            norm = training.optimizer.step(recipe.schedule.scale(done))
            total, count, tokens = world.sum([step_loss.total, step_loss.count, step_loss.tokens])
            if not math.isfinite(total) or not math.isfinite(norm):
                raise Diverged(
                    f"loss {total} and gradient norm {norm} at step {counters.step}; "
                    "lower optimizer.muon_rate and adam_rate in the recipe"
                )
            counters.step += 1
            counters.optimizer_steps = training.optimizer.num_steps
            counters.tokens += int(tokens)
            counters.seconds = world.agree(time.monotonic() - began)
            lines.add(total, count, tokens, step_loss.values)
            ends = _finished(training, counters)
            if counters.step % recipe.validation.every_steps == 0 or ends:
                bpb = training.validate()
                lines.say(counters, bpb)
                best = _judge(training, counters, bpb, best)
                counters.seconds = world.agree(time.monotonic() - began)
            every = recipe.keep_every_steps
            if every is not None and counters.step % every == 0 and not ends:
                keep_snapshot(training, counters)
            if training.progress:
                training.progress(counters.step, recipe.steps)
            now = time.monotonic()
            stop = world.any(asked.is_set())
            if stop or world.agree(now - last_save) > recipe.save_every_seconds:
                save_state(training, counters, best)
                last_save = time.monotonic()
            if stop and not _finished(training, counters):
                raise Interrupted(
                    f"interrupted at step {counters.step} of {recipe.steps}; the state is saved in "
                    f"{training.state}: run the same command again to continue"
                )
    if best and counters.best_step != counters.step:
        training.say(f"taking the weights of step {counters.best_step}, the best on validation")
        world.assign(dict(training.model.named_parameters()), best)
    if training.progress:
        training.progress(recipe.steps, recipe.steps)
    return counters


def _finished(training: Training, counters: Counters) -> bool:
    recipe = training.recipe
    patience = recipe.validation.patience
    return (
        counters.step >= recipe.steps
        or (recipe.max_seconds is not None and counters.seconds >= recipe.max_seconds)
        or (patience is not None and counters.bad_evaluations >= patience)
    )


def _judge(
    training: Training, counters: Counters, bpb: float | None, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Count evaluations without gain; keep the best weights where stopping early is wanted."""
    if bpb is None:
        return best
    if counters.best_bpb is None or bpb < counters.best_bpb:
        counters.best_bpb, counters.best_step, counters.bad_evaluations = bpb, counters.step, 0
        return snapshot(training) if training.recipe.validation.patience else {}
    counters.bad_evaluations += 1
    return best


class _Lines:
    """The console's and the tracker's lines: means since the last one."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._peak = peak_flops()
        self._clear()

    def _clear(self) -> None:
        self._total = self._count = self._tokens = 0.0
        self._values: dict[str, float] = {}
        self._since = time.monotonic()

    def add(self, total: float, count: float, tokens: float, values: Mapping[str, float]) -> None:
        self._total += total
        self._count += count
        self._tokens += tokens
        self._values.update(values)

    def say(self, counters: Counters, bpb: float | None) -> None:
        training = self._training
        rate = self._tokens / max(time.monotonic() - self._since, 1e-9)
        values = {"loss": self._total / max(self._count, 1), "tokens_per_second": rate}
        text = f"step {counters.step}/{training.recipe.steps}  loss {values['loss']:.4f}"
        if bpb is not None:
            values["validation_bpb"] = bpb
            text += f"  val {bpb:.4f} bits/byte"
        if self._values:
            values |= self._values
            text += "".join(f"  {name} {value:.3f}" for name, value in self._values.items())
        text += f"  {rate:,.0f} tokens/s"
        if self._peak:
            peak = self._peak * training.world.size
            values["mfu"] = rate * training.flops_per_token / peak
            text += f"  MFU {values['mfu']:.1%}"
        text += f"  {counters.seconds:.0f} s"
        if training.world.is_first:
            training.say(text)
            training.tracker.log(counters.step, values)
        counters.history.append({"step": float(counters.step), **values})
        self._clear()


def peak_flops() -> float | None:
    """Dense bf16 peak of this accelerator by its datasheet; None on a CPU or an unknown one."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for known, peak in PEAK_FLOPS.items() if name.startswith(known)), None)


__all__ = [
    "Counters", "Diverged", "Interrupted", "Kept", "Objective", "Progress", "StepLoss",
    "Training", "kept_snapshots", "load_state", "peak_flops", "run", "save_state", "snapshot",
]  # fmt: skip
