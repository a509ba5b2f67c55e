"""The two sides of ``eval.bench_lm_eval``: what runs in processes of its own, over a pipe."""

from __future__ import annotations

import gzip
import itertools
import json
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Requests = list[tuple[str, str]]


@dataclass(frozen=True)
class Suite:
    """So many first items of a ready task, ``choices`` requests each; ``target`` times faster."""

    task: str
    items: int
    choices: int
    target: float


SUITES = (Suite("hellaswag", 500, 4, 1.8), Suite("blimp", 2010, 2, 1.3))


def make_checkpoint(connection: Connection, folder: Path, data: Path) -> None:
    """Publish a random Qwen3 of about five million parameters, its tokenizer trained on books."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from registry.checkpoint import Lineage, publish

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    with gzip.open(data / "classic_books" / "books.jsonl.gz", "rt", encoding="utf-8") as books:
        texts = [json.loads(line)["text"] for line in books]
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=4096, hidden_size=256, intermediate_size=704, num_hidden_layers=5,
            num_attention_heads=4, num_key_value_heads=2, head_dim=64,
            max_position_embeddings=512, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip
    staging = folder.with_name(folder.name + "-staging")
    staging.mkdir(parents=True)
    model.save_pretrained(staging)
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    ).save_pretrained(staging)
    publish(staging, folder, Lineage(name=folder.name, stage="import", seed=0))
    connection.send(sum(parameter.numel() for parameter in model.parameters()))


def make_neighbour(connection: Connection, folder: Path, like: Path) -> None:
    """Publish ``like`` with its weights moved by a millionth: another digest, the same cost."""
    import torch
    from transformers import AutoModelForCausalLM

    from registry.checkpoint import Lineage, publish

    staging = folder.with_name(folder.name + "-staging")
    shutil.copytree(like, staging, ignore=shutil.ignore_patterns("*.safetensors*"))
    model = AutoModelForCausalLM.from_pretrained(like, local_files_only=True, use_safetensors=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-6)
    model.save_pretrained(staging)
    publish(staging, folder, Lineage(name=folder.name, stage="import", seed=0))
    connection.send(None)


def build_requests(connection: Connection, data: Path) -> None:
    """Send the (context, continuation) pairs of each suite, as lm-eval builds them."""
    built: dict[str, Requests] = {}
    for suite in SUITES:
        task = _task(suite, data)
        task.build_all_requests(limit=suite.items)
        built[suite.task] = [tuple(instance.args) for instance in task.instances]
    connection.send(built)


def _task(suite: Suite, data: Path) -> Any:
    from eval.checks import LmEvalTaskConfig
    from eval.task_run import load_tasks

    [task] = load_tasks(LmEvalTaskConfig(task=suite.task, data=data)).values()
    task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(0)
    return task


class Ours:
    """The runner as the gate uses it."""

    def __init__(self, folder: Path) -> None:
        import eval.task_run  # noqa: F401  # for the same weight as in the other process
        from eval.torch_runner import TorchRunner

        self.runner = TorchRunner(folder)

    def score(self, requests: Requests, batch_size: int) -> list[tuple[float, bool]]:
        return [(s.logprob, s.greedy) for s in self.runner.continuations(requests)]

    def count_tokens(self, requests: Requests, choices: int) -> dict[str, int]:
        """Tokens that are run without sharing, with sharing within items, and as packed."""
        from eval.packing import pack, shared_prefix

        rows = self.runner._rows(requests)
        within = 0
        for start in range(0, len(rows), choices):
            item = sorted(row.inputs for row in rows[start : start + choices])
            kept = (shared_prefix(*two) for two in itertools.pairwise(item))
            within += sum(map(len, item)) - sum(kept)
        trees = pack(rows, share=True, max_length=self.runner.context_length)
        return {
            "alone": sum(len(row.inputs) for row in rows),
            "within": within,
            "packed": sum(map(len, trees)),
        }


class Theirs:
    """lm-eval's ``hf`` model."""

    def __init__(self, folder: Path) -> None:
        from lm_eval.models.huggingface import HFLM

        import eval.task_run  # noqa: F401  # for the same weight as in the other process

        self.model = HFLM(
            pretrained=str(folder), dtype="float32", device="cpu",
            prefix_token_id=_prefix_token(folder),
        )  # fmt: skip

    def score(self, requests: Requests, batch_size: int) -> list[tuple[float, bool]]:
        from types import SimpleNamespace

        self.model.batch_size_per_gpu = batch_size
        instances = [SimpleNamespace(args=request, task_name="bench") for request in requests]
        return [
            (float(logprob), bool(greedy))
            for logprob, greedy in self.model.loglikelihood(instances, disable_tqdm=True)
        ]


def _prefix_token(folder: Path) -> int:
    """What stands before a text, chosen as the runner chooses it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    return int(tokenizer.get_vocab().get("<|endoftext|>", tokenizer.eos_token_id))


def serve(connection: Connection, side: type[Ours] | type[Theirs], folder: Path) -> None:
    """Load one side, then answer calls of its methods until None.

    An answer is (seconds by the clock, seconds of the processor, result).
    """
    model = side(folder)
    connection.send(peak_mib())
    while (call := connection.recv()) is not None:
        method, *arguments = call
        began, worked = time.perf_counter(), time.process_time()
        result = peak_mib() if method == "peak" else getattr(model, method)(*arguments)
        seconds = time.perf_counter() - began, time.process_time() - worked
        connection.send((*seconds, result))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gate(connection: Connection, folders: Sequence[Path], policy: Path, store: Path) -> None:
    """A whole gate of the first folder against the second; of one alone just its evidence."""
    from eval.checks import CHECKS
    from eval.gate import judge, load_policy
    from eval.measure import collect
    from registry.checkpoint import read_manifest
    from registry.evidence import EvidenceStore, now

    loaded = load_policy(policy, CHECKS, Path)
    found = [collect(loaded, CHECKS, folder, EvidenceStore(store)) for folder in folders]
    digests = [read_manifest(folder).weights_digest for folder in folders]
    if len(folders) == 2:
        judge(
            loaded, *found, candidate_digest=digests[0], baseline_digest=digests[1],
            against="champion", now=now(),
        )  # fmt: skip
    connection.send({name: e.summary["acc"] for name, e in found[0].items()})


def lm_eval_alone(
    connection: Connection, folder: Path, data: Path, batch_sizes: dict[str, int]
) -> None:
    """The same items by lm-eval with its ``hf`` model, from loading to its results.

    Our loader gives it the tasks: its own would process the documents several times.
    """
    import logging

    from lm_eval.evaluator import evaluate

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = Theirs(folder).model
    accuracies = {}
    for suite in SUITES:
        model.batch_size_per_gpu = batch_sizes[suite.task]
        tasks = {"tasks": {suite.task: _task(suite, data)}}
        results = evaluate(model, tasks, limit=suite.items, bootstrap_iters=0)
        accuracies[suite.task] = results["results"][suite.task]["acc,none"]
    connection.send(accuracies)
