"""Several processes under ``torchrun``: DDP by default, FSDP2 where the recipe shards.

With one process every function here does nothing, so the loop reads the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.optim import MuonAdamW


def full(tensor: Tensor) -> Tensor:
    """The whole of an FSDP2 tensor, or the tensor itself."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@dataclass(frozen=True)
class World:
    """The processes of one training and this one's place among them."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element-wise sums over all processes."""
        if self.size == 1:
            return [float(value) for value in values]
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def any(self, flag: bool) -> bool:
        return self.sum([float(flag)])[0] > 0

    def agree(self, value: float) -> float:
        """The first process's value, so that clocks cannot make processes part ways."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, src=0)
        return float(tensor)

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()

    def share(self, items: Sequence[int]) -> list[int]:
        """This process's part of a batch: every ``size``-th item."""
        return list(items[self.rank :: self.size])

    def wrap(self, scorer: nn.Module, *, shard: bool) -> nn.Module:
        """The module whose backward averages gradients over all processes."""
        if self.size == 1:
            return scorer
        if not shard:
            from torch.nn.parallel import DistributedDataParallel

            return DistributedDataParallel(scorer, broadcast_buffers=False)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        for layer in scorer.model.model.layers:  # type: ignore[union-attr]  # a Qwen3ForCausalLM
            fully_shard(layer, mesh=mesh)
        fully_shard(scorer, mesh=mesh)
        return scorer

    def whole(self, optimizer: MuonAdamW) -> Iterator[tuple[str, Tensor]]:
        """The optimizer's tensors by name, gathered where they are sharded."""
        for name, shard in optimizer.tensors().items():
            yield name, optimizer.gathered(name, shard)

    def restore(self, optimizer: MuonAdamW, tensors: Mapping[str, Tensor], num_steps: int) -> None:
        shards = {name: optimizer.sharded(name, tensor) for name, tensor in tensors.items()}
        optimizer.restore(shards, num_steps)

    def assign(self, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Copy whole tensors into parameters, sharded or not."""
        from train.optim import local_part, shard_like

        with torch.no_grad():
            for name, parameter in parameters.items():
                whole = tensors[name].to(parameter.device)
                local_part(parameter).copy_(shard_like(whole, parameter))


def join() -> World:
    """The world that ``torchrun`` set up in the environment, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if size == 1:
        return World(rank=0, size=1, device=device)
    if cuda:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return World(rank=dist.get_rank(), size=size, device=device)
