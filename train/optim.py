"""Muon for the hidden matrices, AdamW for the rest, in one small optimizer.

State is plain named tensors, so it is stored as safetensors. Which optimizer a
fine-tuning uses is chosen by its parent's lineage: Muon on weights that AdamW
pre-trained makes them worse, and so does the reverse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from registry.records import Record

Choice = Literal["auto", "muon", "adamw"]
MUON = "muon+adamw"
ADAMW = "adamw"

# Quintic Newton-Schulz coefficients: Jordan 2024, https://kellerjordan.github.io/posts/muon/
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class OptimizerRecipe(Record):
    """Peak learning rates and their like. ``auto`` follows the parent, and is Muon without one."""

    kind: Choice = "auto"
    muon_rate: float = Field(default=0.02, gt=0)
    adam_rate: float = Field(default=0.004, gt=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)


def choose(kind: Choice, parent_lineage: Sequence[str]) -> str:
    """The lineage entry of this training: what was asked for, else what the parent used last."""
    if kind != "auto":
        return MUON if kind == "muon" else ADAMW
    if not parent_lineage or parent_lineage[-1] == MUON:
        return MUON
    return ADAMW


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices, roughly (singular values in about [0.7, 1.2]).

    Shape (..., rows, columns); Newton-Schulz in bfloat16, all matrices at once.
    """
    a, b, c = COEFFICIENTS
    x: Tensor = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name


class MuonAdamW:
    """``step`` updates the parameters in place from their gradients, and clears them."""

    def __init__(
        self, parameters: Mapping[str, Tensor], recipe: OptimizerRecipe, lineage: str
    ) -> None:
        self.recipe = recipe
        self.num_steps = 0
        self._parameters = dict(parameters)
        use_muon = lineage == MUON
        matrices = {n for n, p in parameters.items() if use_muon and is_hidden_matrix(n, p)}
        groups: dict[torch.Size, list[str]] = defaultdict(list)
        for name in parameters:
            if name in matrices:
                groups[parameters[name].shape].append(name)
        self._matrix_groups = list(groups.values())
        self._adam = [name for name in parameters if name not in matrices]
        # In the parameters' order, not the set's: every process must gather in the same one.
        names = [name for name in parameters if name in matrices]
        self._momentum = {n: torch.zeros_like(local_part(parameters[n])) for n in names}
        self._first = {n: torch.zeros_like(local_part(parameters[n])) for n in self._adam}
        self._second = {n: torch.zeros_like(local_part(parameters[n])) for n in self._adam}

    def step(self, scale: float) -> float:
        """One update at ``scale`` times the peak rates; gives the gradient norm before clipping."""
        norm = self._clip()
        self.num_steps += 1
        with torch.no_grad():
            for names in self._matrix_groups:
                self._muon(names, self.recipe.muon_rate * scale)
            if self._adam:
                self._adamw(self.recipe.adam_rate * scale)
        for parameter in self._parameters.values():
            parameter.grad = None
        return norm

    def _clip(self) -> float:
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = _full(norm)
        if norm > self.recipe.clip_norm:
            torch._foreach_mul_(
                [local_part(g) for g in gradients], self.recipe.clip_norm / float(norm)
            )
        return float(norm)

    def _muon(self, names: Sequence[str], rate: float) -> None:
        beta = self.recipe.momentum
        parameters = [self._parameters[name] for name in names]
        momenta = [self._momentum[name] for name in names]
        gradients = [local_part(_gradient(parameter)) for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - beta)
        nesterov = torch._foreach_lerp(gradients, momenta, beta)
        whole = [gather_like(n, p) for n, p in zip(nesterov, parameters, strict=True)]
        updates = orthogonalise(torch.stack(whole))
        rows, columns = parameters[0].shape
        factor = rate * max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            weights = local_part(parameter)
            weights.mul_(1 - rate * self.recipe.weight_decay)
            weights.sub_(shard_like(update, parameter).to(weights.dtype), alpha=factor)

    def _adamw(self, rate: float) -> None:
        beta1, beta2 = self.recipe.betas
        parameters = [self._parameters[name] for name in self._adam]
        weights = [local_part(parameter) for parameter in parameters]
        gradients = [local_part(_gradient(parameter)) for parameter in parameters]
        first = [self._first[name] for name in self._adam]
        second = [self._second[name] for name in self._adam]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - beta2)
        correction = (1 - beta2**self.num_steps) ** 0.5
        below = torch._foreach_sqrt(second)
        torch._foreach_div_(below, correction)
        torch._foreach_add_(below, 1e-8)
        if self.recipe.weight_decay:
            decayed = [w for w in weights if w.ndim == 2]
            torch._foreach_mul_(decayed, 1 - rate * self.recipe.weight_decay)
        step_size = rate / (1 - beta1**self.num_steps)
        torch._foreach_addcdiv_(weights, first, below, value=-step_size)

    def tensors(self) -> dict[str, Tensor]:
        """State by name, for safetensors; ``num_steps`` is kept beside it."""
        return {
            f"{kind}/{name}": tensor
            for kind, tensors in (
                ("momentum", self._momentum), ("first", self._first), ("second", self._second)
            )
            for name, tensor in tensors.items()
        }  # fmt: skip

    def gathered(self, name: str, shard: Tensor) -> Tensor:
        """The whole of one state tensor, whose name is as in ``tensors``."""
        return gather_like(shard, self._parameters[name.split("/", 1)[1]])

    def sharded(self, name: str, whole: Tensor) -> Tensor:
        parameter = self._parameters[name.split("/", 1)[1]]
        return shard_like(whole.to(parameter.device), parameter)

    def restore(self, tensors: Mapping[str, Tensor], num_steps: int) -> None:
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.num_steps = num_steps


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a parameter has no gradient; run backward before step")
    return parameter.grad


def local_part(tensor: Tensor) -> Tensor:
    """This process's shard of an FSDP2 tensor, or the tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def gather_like(shard: Tensor, like: Any) -> Tensor:
    """The whole matrix of which ``shard`` is this process's part."""
    if not hasattr(like, "device_mesh"):
        return shard
    from torch.distributed.tensor import DTensor

    whole: Tensor = DTensor.from_local(
        shard, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    ).full_tensor()
    return whole


def shard_like(whole: Tensor, like: Any) -> Tensor:
    """This process's part of a whole matrix."""
    if not hasattr(like, "device_mesh"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    part: Tensor = distribute_tensor(
        whole.contiguous(), like.device_mesh, like.placements
    ).to_local()
    return part
