"""Shards of requests answered by the workers of a Ray cluster, one loaded model each.

Every worker loads the checkpoint from the same path, so the folder must lie where all
nodes can read it. Shards are cut before they are handed out (``eval.resume``) and a
worker computes a shard as one process would, so the evidence is the same.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.resume import ask
from eval.runner import Sampling, open_runner
from registry.conversation import Message
from registry.evidence import ModelFacts
from registry.records import UserError

_REACH_SECONDS = 5.0


class RayError(UserError):
    """The cluster cannot be reached, or has no worker that can load the checkpoint."""


class _Worker:
    """Lives on the cluster: one runner, asked by name."""

    def __init__(self, folder: str, base: str | None, num_threads: int) -> None:
        import torch

        torch.set_num_threads(num_threads)
        self.runner = open_runner(Path(folder), None if base is None else Path(base))

    def facts(self) -> ModelFacts:
        return self.runner.facts

    def ask(self, method: str, requests: list[Any], sampling: Sampling | None) -> list[Any]:
        return ask(self.runner, method, requests, sampling)

    def render(self, dialogue: list[Message], answer_next: bool) -> str:
        return self.runner.render(dialogue, answer_next=answer_next)

    def count_tokens(self, texts: list[str]) -> list[int]:
        return self.runner.count_tokens(texts)


class RayPool:
    """Workers on the cluster at ``address`` ("auto", "local" or "ray://host:10001").

    One worker for each GPU, or where there is none for each ``threads_per_worker`` CPUs.
    Raises RayError where the cluster or the checkpoint cannot be reached.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        *,
        base: Path | None = None,
        threads_per_worker: int = 1,
    ) -> None:
        import ray
        from ray.exceptions import RayError as RaysOwn

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        _reach(address)
        cluster: Any = ray  # its own types do not cover what is used here
        self._ray = cluster
        try:
            if not cluster.is_initialized():
                cluster.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": {"PYTHONPATH": _import_path()}},
                )
            resources = cluster.cluster_resources()
            num_gpus = int(resources.get("GPU", 0))
            count = num_gpus or max(1, int(resources.get("CPU", 1)) // threads_per_worker)
            needs = {"num_gpus": 1} if num_gpus else {"num_cpus": threads_per_worker}
            worker = cluster.remote(**needs)(_Worker)
            paths = str(folder.resolve()), None if base is None else str(base.resolve())
            self.workers = [worker.remote(*paths, threads_per_worker) for _ in range(count)]
            self._facts: ModelFacts = cluster.get([w.facts.remote() for w in self.workers])[0]
        except (RaysOwn, ConnectionError, ValueError) as error:
            last = str(error).strip().splitlines()[-1][:300]
            raise RayError(
                f"no Ray cluster at {address!r} that can load {folder}: {last}; start one with "
                "`ray start --head`, and put the checkpoint where every node can read it"
            ) from error

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    def run(
        self, method: str, shards: Sequence[Sequence[Any]], sampling: Sampling | None
    ) -> Iterator[tuple[int, list[Any]]]:
        """Each worker has one shard at a time, so that a slow one holds up only its own."""
        waiting = list(enumerate(shards))[::-1]
        idle = list(self.workers)
        running: dict[Any, tuple[int, Any]] = {}
        while waiting or running:
            while waiting and idle:
                index, shard = waiting.pop()
                worker = idle.pop()
                running[worker.ask.remote(method, list(shard), sampling)] = (index, worker)
            [ready], _ = self._ray.wait(list(running), num_returns=1)
            index, worker = running.pop(ready)
            idle.append(worker)
            yield index, self._ray.get(ready)

    def render(self, dialogue: Sequence[Message], *, answer_next: bool) -> str:
        return str(self._ray.get(self.workers[0].render.remote(list(dialogue), answer_next)))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return list(self._ray.get(self.workers[0].count_tokens.remote(list(texts))))

    def close(self) -> None:
        for worker in self.workers:
            self._ray.kill(worker)


def _reach(address: str) -> None:
    """Ray itself waits ten minutes for a host and port where nobody listens."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise RayError(
            f"no Ray cluster at {address!r}: {error}; start one with `ray start --head`"
        ) from error


def _import_path() -> str:
    """Where workers on this machine find the project when it runs from a checkout."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
