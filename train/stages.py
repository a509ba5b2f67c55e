"""Pre-training, fine-tuning and preference training: a job in, a published checkpoint out.

The unfinished state of a job lives in ``runs/NAME-DIGEST``, where the digest is of
everything that decides the result: the same command continues an interrupted job, and
another job never touches it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry.checkpoint import Lineage, Manifest, publish, read_manifest, verify
from registry.dataset import DATASET, DatasetError, read_dataset, read_jsonl
from registry.records import UserError, digest_of, short
from registry.snapshots import beside, same_training, snapshot_folder
from train import data, loop, model
from train.optim import MuonAdamW, choose
from train.packing import Document
from train.parallel import World, join
from train.recipe import Recipe
from train.steps import BitsPerByte, Dpo, Engine, Kto, Likelihood
from train.tokenizer import END, END_OF_TEXT, byte_lengths, load_tokenizer, train_tokenizer
from train.tracking import open_tracker

TOKENIZER_SAMPLE_CHARACTERS = 20_000_000


class TrainError(UserError):
    """A job that cannot be trained as it is asked for."""


@dataclass(frozen=True)
class Job:
    """One training: what, from what, to where."""

    recipe: Recipe
    data: tuple[Path, ...]
    parent: Path | None
    destination: Path
    runs: Path
    seed: int
    name: str


def train(
    job: Job,
    progress: loop.Progress | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> Manifest:
    """Train and publish. Raises UserError for what a user can fix, Interrupted after Ctrl-C."""
    recipe, world = job.recipe, join()
    parent = _checked_parent(job)
    datasets = data.references(job.data)
    _refuse_unprepared(job)
    lineage = choose(recipe.optimizer.kind, parent.optimizer_lineage if parent else ())
    identity: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "datasets": [d.model_dump() for d in datasets],
        "parent": parent.weights_digest if parent else None,
        "seed": job.seed,
    }
    run = job.runs / f"{job.name}-{short(digest_of(identity))}"
    run.mkdir(parents=True, exist_ok=True)
    described = Lineage(
        name=job.name,
        stage=recipe.stage,
        parent_digest=identity["parent"],
        recipe=identity["recipe"],
        datasets=datasets,
        optimizer_lineage=(*(parent.optimizer_lineage if parent else ()), lineage),
        seed=job.seed,
    )
    _refuse_foreign_snapshots(job, described)
    tokenizer, network = _start(job, run, world)
    tracker = open_tracker(
        job.runs,
        job.name,
        {**identity, "optimizer": lineage},
        wanted=recipe.track and world.is_first,
    )
    finished = False
    try:
        with model.quicken(network) if not recipe.compile else nullcontext():
            training = _training(job, run, tokenizer, network, lineage, world)
            training.tracker = tracker
            training.progress = progress if world.is_first else None
            training.say = say or _to_stderr
            counters = loop.run(training)
            finished = True
        return _finish(job, run, world, tokenizer, network, training, counters, described)
    finally:
        tracker.close(finished=finished)


def _refuse_unprepared(job: Job) -> None:
    """Data steps make a dataset version before a job begins; see train.prepare."""
    if job.recipe.data is None:
        return
    steps = job.recipe.data.model_dump(mode="json")
    for path in job.data:
        known = read_dataset(path).recipe if (path / DATASET).is_file() else {}
        if known.get("steps") != steps:
            raise TrainError(
                f"{path} did not go through the recipe's data steps; start the training with "
                "`hallmark train run`, which makes that dataset version"
            )


def _refuse_foreign_snapshots(job: Job, lineage: Lineage) -> None:
    """Before the first step, not after the last: their places would be taken."""
    if not job.recipe.keep_last:
        return
    for folder, manifest in beside(job.destination):
        if not same_training(manifest, lineage):
            raise TrainError(
                f"{folder} is in the way: a snapshot of another training called {job.name}; "
                "delete it, or choose another name"
            )


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _checked_parent(job: Job) -> Manifest | None:
    if job.recipe.stage == "pretrain":
        if job.parent is not None:
            raise TrainError(
                "a pre-training starts from nothing, but a parent was given; "
                "leave it away, or take a recipe of stage sft"
            )
        return None
    if job.parent is None:
        raise TrainError(
            f"a recipe of stage {job.recipe.stage} needs a parent checkpoint to start from; "
            "give --parent NAME"
        )
    return verify(job.parent)


def _start(job: Job, run: Path, world: World) -> tuple[Any, Any]:
    """The tokenizer and the network before the first step."""
    if job.parent is not None:
        network = model.load(job.parent)
        tokenizer = load_tokenizer(job.parent)
    else:
        shape = job.recipe.shape
        assert shape is not None  # Recipe demands it for pretrain
        folder = run / "tokenizer"
        if not folder.exists() and world.is_first:
            _make_tokenizer(job, folder, shape)
        world.wait()
        tokenizer = load_tokenizer(folder)
        eos, pad = tokenizer.convert_tokens_to_ids([END, END_OF_TEXT])
        # A row count that is a multiple of 8 keeps the head's products aligned.
        rows = -(-len(tokenizer) // 8) * 8
        shape = shape.model_copy(update={"vocab_size": rows})
        network = model.create(shape, eos=eos, pad=pad, seed=job.seed)
    return tokenizer, network.to(world.device)


def _make_tokenizer(job: Job, folder: Path, shape: model.Shape) -> None:
    rows = [row for part in _rows(job) for row in part]
    texts, characters = [], 0
    for index in np.random.default_rng(0).permutation(len(rows)):
        texts.append(rows[index].as_text())
        characters += len(texts[-1])
        if characters > TOKENIZER_SAMPLE_CHARACTERS:
            break
    tokenizer = train_tokenizer(texts, vocab_size=shape.vocab_size, context=shape.context)
    unfinished = folder.with_name(".tokenizer")
    shutil.rmtree(unfinished, ignore_errors=True)
    tokenizer.save_pretrained(unfinished)
    unfinished.replace(folder)


def _needed(job: Job, name: str) -> list[Path]:
    files = data.files_named(job.data, name)
    if not files:
        places = ", ".join(str(path) for path in job.data) or "no data at all"
        raise DatasetError(
            f"a recipe of stage {job.recipe.stage} needs {name}.jsonl, but got {places}; "
            "make a dataset with `hallmark data`, or preferences with `hallmark feedback export`"
        )
    return files


def _rows(job: Job) -> tuple[list[data.Row], list[data.Row]]:
    """Conversations and texts; for pre-training also the pages of handbooks beside them."""
    files = data.files_named(job.data, "handbook") if job.recipe.stage == "pretrain" else []
    return data.read_rows(_needed(job, "train")), data.read_rows(files)


def _documents(job: Job, tokenizer: Any, context: int) -> tuple[list[Document], list[Document]]:
    """(training, validation). Where there is a handbook, pre-training reads nothing else.

    Conversations hold many values that nothing foretells; a model of this size learns to
    look up and copy on pages that do little else, and to converse in the fine-tuning.
    """
    rows, pages = _rows(job)
    if pages:
        documents = data.dialogue_documents(tokenizer, pages, context)
        held_out = max(1, len(documents) // 20)
        return documents[held_out:], documents[:held_out]
    read = data.text_documents if job.recipe.stage == "pretrain" else data.dialogue_documents
    validation = data.read_rows(data.files_named(job.data, "validation"))
    return read(tokenizer, rows, context), read(tokenizer, validation, context)


def _training(
    job: Job, run: Path, tokenizer: Any, network: Any, lineage: str, world: World
) -> loop.Training:
    recipe = job.recipe
    context = network.config.max_position_embeddings
    scorer = model.Scorer(network)
    if recipe.compile:
        scorer.compile(dynamic=True)
    wrapped = world.wrap(scorer, shard=recipe.shard)
    pad = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    engine = Engine(wrapped, world, recipe.precision, pad)
    network.train()
    if recipe.stage == "prefer":
        objective = _preference_objective(job, tokenizer, engine, context)
        validation = data.dialogue_documents(
            tokenizer, data.read_rows(data.files_named(job.data, "validation")), context
        )
    else:
        documents, validation = _documents(job, tokenizer, context)
        if not documents:
            raise DatasetError("the training data has nothing to learn: no assistant message in it")
        objective = Likelihood(engine, documents, recipe.tokens_per_batch, job.seed)
    validate = BitsPerByte(
        engine,
        validation,
        byte_lengths(tokenizer),
        recipe.tokens_per_batch,
        recipe.validation.max_tokens,
    )
    return loop.Training(
        recipe=recipe,
        model=network,
        optimizer=MuonAdamW(dict(network.named_parameters()), recipe.optimizer, lineage),
        objective=objective,
        validate=validate,
        state=run / "state",
        tracker=open_tracker(run, "", {}, wanted=False),
        world=world,
        flops_per_token=model.flops_per_token(network, context),
    )


def _preference_objective(job: Job, tokenizer: Any, engine: Engine, context: int) -> loop.Objective:
    recipe = job.recipe
    settings = recipe.prefer
    assert settings is not None  # Recipe demands it for prefer
    mix = None
    if settings.mix_weight:
        rows = data.read_rows(_needed(job, "train"))
        documents = data.dialogue_documents(tokenizer, rows, context)
        mix = Likelihood(engine, documents, settings.mix_tokens, job.seed)

    def encoded(prompts: Sequence[Any], completions: Sequence[Any]) -> list[Document]:
        return data.completion_documents(tokenizer, prompts, completions, context)

    budget = recipe.tokens_per_batch
    if settings.objective == "dpo":
        pairs = [p for f in _needed(job, "preferences") for p in read_jsonl(f, data.Pair)]
        _refuse_empty(pairs, "preferences.jsonl")
        prompts = [pair.prompt for pair in pairs]
        chosen = encoded(prompts, [pair.chosen for pair in pairs])
        rejected = encoded(prompts, [pair.rejected for pair in pairs])
        return Dpo(engine, chosen, rejected, settings, budget, job.seed, mix)
    labelled = [r for f in _needed(job, "labels") for r in read_jsonl(f, data.Labelled)]
    _refuse_empty(labelled, "labels.jsonl")
    prompts = [row.prompt for row in labelled]
    completions = [row.completion for row in labelled]
    return Kto(
        engine,
        encoded(prompts, completions),
        encoded(prompts, data.mismatch(completions)),
        np.asarray([row.label for row in labelled], dtype=np.bool_),
        settings,
        budget,
        job.seed,
        mix,
    )


def _refuse_empty(rows: Sequence[object], name: str) -> None:
    if not rows:
        raise DatasetError(f"{name} has no rows: there is no feedback to learn from yet")


def _finish(
    job: Job,
    run: Path,
    world: World,
    tokenizer: Any,
    network: Any,
    training: loop.Training,
    counters: loop.Counters,
    lineage: Lineage,
) -> Manifest:
    """Write the Hugging Face folder, publish it, and clear the run's state away.

    Its snapshots come first: where the checkpoint itself is, they all are.
    """
    weights = loop.snapshot(training)
    if world.is_first:
        staging = run / "staging"
        dtype = getattr(torch, job.recipe.store_dtype)
        job.destination.parent.mkdir(parents=True, exist_ok=True)

        def put(place: Path, weights: Mapping[str, torch.Tensor], **known: Any) -> None:
            shutil.rmtree(staging, ignore_errors=True)
            write_folder(staging, network, tokenizer, weights, dtype)
            publish(staging, place, lineage.model_copy(update=known))

        taken = counters.best_step if job.recipe.validation.patience else 0
        for kept in loop.kept_snapshots(training):
            if kept.step < (taken or counters.step):
                place = snapshot_folder(job.destination, kept.step)
                shutil.rmtree(place, ignore_errors=True)  # of this training, cut short
                put(place, kept.weights, name=place.name, tokens_seen=kept.tokens)
        put(job.destination, weights, tokens_seen=counters.tokens)
        shutil.rmtree(run)
    world.wait()
    return read_manifest(job.destination)


def write_folder(
    folder: Path,
    network: Any,
    tokenizer: Any,
    weights: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
) -> None:
    """A Hugging Face folder that transformers and vLLM load unchanged."""
    from transformers import GenerationConfig, Qwen3ForCausalLM

    config = type(network.config).from_dict(network.config.to_dict())
    config.dtype = dtype
    copy = Qwen3ForCausalLM(config).to(dtype)
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            parameter.copy_(weights[name])
    copy.generation_config = GenerationConfig(
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id, do_sample=False
    )
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
