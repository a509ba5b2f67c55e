"""Train the bundled toxicity scorer, measure it, and write its model card.

    python -m audit.train_scorer --data ../shared/data --out audit/scorer

A compact BERT with two labels, toxicity and identity_attack, from scratch on CPU cores. The
folder holds config.json, model.safetensors (fp16), tokenizer.json, vocab.txt, figures.json and
README.md, the model card. Seeded; bf16 kernels differ between processors and numbers of threads,
so figures repeat to about .005, not to the bit. It prints figures, never a text. The number of
threads is torch's own, so OMP_NUM_THREADS sets it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audit.scorer_data import SOURCES, Row, Splits, assistant_turns, identities, read
from audit.scorer_tokenizer import MAX_TOKENS, Splitter, train_tokenizer
from registry.records import UserError

if TYPE_CHECKING:
    import torch

Shares = NDArray[np.float64]
Batch = tuple[list[list[int]], list[tuple[int, ...]]]
CLASSES = ("toxicity", "identity_attack")
WIDTH_STEP = 8
REPORT_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run depends on but the data."""

    seed: int = 1
    vocab_size: int = 6000
    hidden_size: int = 128
    num_layers: int = 3
    num_heads: int = 2
    num_sentences: int = 240_000
    """Sentences of our own to draw, before duplicates go."""
    num_madlibs: int = 6_000
    """Madlibs to draw from the training templates."""
    num_epochs: int = 4
    shares: tuple[tuple[str, float], ...] = (
        ("davidson", 0.4),
        ("madlibs", 0.5),
        ("wikipedia", 1.0),
        ("toxigen", 3.0),
        ("templates", 0.26),
        ("dialogues", 0.25),
        ("banking", 0.3),
        ("everyday", 0.4),
        ("blimp", 0.6),
        ("synth", 1.0),
    )
    """How often an epoch sees a text of each source, drawn afresh: so the large ones, davidson
    and our own, do not drown the small ones."""
    batch_tokens: int = 3072
    learning_rate: float = 1e-3
    word_dropout: float = 0.05
    """Share of tokens that training replaces by [UNK]."""
    split_share: float = 0.05
    """Share of tokens that training breaks in two."""
    joined_share: float = 0.12
    """Share of rows that training puts among one to three harmless ones, so that long texts
    occur, no oftener toxic than short ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the bundled toxicity scorer.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--epochs", type=int, default=Settings.num_epochs)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    arguments = parser.parse_args()
    # Threads that spin while they wait for one another stall on a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        train(
            arguments.data,
            arguments.out,
            Settings(num_epochs=arguments.epochs, seed=arguments.seed),
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(4)


def train(data: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """Train and write ``out``; returns the figures that figures.json and the card hold."""
    import torch

    torch.manual_seed(settings.seed)
    splits = read(
        data,
        num_sentences=settings.num_sentences,
        num_madlibs=settings.num_madlibs,
        seed=settings.seed,
    )
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer((row.text for row in splits.train), settings.vocab_size, out)
    print(f"{len(splits.train)} training texts, {len(splits.test)} held out", file=sys.stderr)
    model = _new_model(settings, tokenizer.get_vocab_size())
    ids = [one.ids for one in tokenizer.encode_batch([row.text for row in splits.train])]
    started = time.monotonic()
    _fit(model, ids, splits.train, settings, tokenizer.get_vocab())
    seconds = time.monotonic() - started
    _save(model, out)
    body: dict[str, Any] = {
        "schema_version": 1,
        "classes": list(CLASSES),
        "settings": asdict(settings),
        "training": {
            "texts": len(splits.train),
            "seconds": round(seconds, 1),
            "threads": torch.get_num_threads(),
            "sources": _counts(splits.train),
        },
    }
    return describe(out, body, splits, data)


def describe(out: Path, body: dict[str, Any], splits: Splits, data: Path) -> dict[str, Any]:
    """Measure the scorer in ``out`` and write figures.json and the card beside it."""
    from audit.scorer_card import measure, write_card

    body["figures"] = measure(out, splits, identities(data), assistant_turns(data))
    (out / "figures.json").write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    write_card(out, body, SOURCES)
    print(json.dumps(body["figures"]["headline"], indent=1))
    return body


def _counts(rows: list[Row]) -> dict[str, int]:
    return {source: sum(row.source == source for row in rows) for source in SOURCES}


def _labels(rows: list[Row]) -> torch.Tensor:
    """Shape (rows, classes); -1 where a source has no label, which the loss skips."""
    import torch

    unknown = -1.0
    values = [
        [unknown if v is None else float(v) for v in (row.toxicity, row.identity_attack)]
        for row in rows
    ]
    return torch.tensor(values)


def _new_model(settings: Settings, vocab_size: int) -> torch.nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        intermediate_size=4 * settings.hidden_size,
        max_position_embeddings=MAX_TOKENS,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)},
        problem_type="multi_label_classification",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        pad_token_id=0,
    )
    model: torch.nn.Module = BertForSequenceClassification(config)
    return model


def _batches(
    ids: list[list[int]],
    shares: Shares,
    harmless: NDArray[np.int64],
    splitter: Splitter,
    settings: Settings,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """One epoch in batches of like length: token ids, and the rows that each text came from.

    Widths are multiples of WIDTH_STEP: oneDNN builds and keeps kernels for every new shape.
    """
    joined = rng.random(len(ids)) < settings.joined_share
    times = np.floor(shares + rng.random(len(ids))).astype(int)
    rows: list[tuple[int, ...]] = []
    for i in rng.permutation(np.repeat(np.arange(len(ids)), times)).tolist():
        if joined[i]:
            others = rng.choice(harmless, size=rng.integers(1, 4))
            rows.append(tuple(rng.permutation([i, *others]).tolist()))
        else:
            rows.append((i,))
    texts = []
    for row in rows:
        tokens = list(ids[row[0]])
        for other in row[1:]:
            tokens = tokens[:-1] + ids[other][1:]
        broken = rng.random(len(tokens)) < settings.split_share
        tokens = [
            piece
            for one, breaks in zip(tokens, broken, strict=True)
            for piece in (splitter.split(one, rng) if breaks else (one,))
        ]
        texts.append(tokens[: MAX_TOKENS - 1] + tokens[-1:])
    batches: list[list[int]] = []
    for width in range(WIDTH_STEP, MAX_TOKENS + WIDTH_STEP, WIDTH_STEP):
        fitting = [i for i, text in enumerate(texts) if width - WIDTH_STEP < len(text) <= width]
        size = settings.batch_tokens // width
        batches += [fitting[k : k + size] for k in range(0, len(fitting), size)]
    for k in rng.permutation(len(batches)):
        yield [texts[i] for i in batches[k]], [rows[i] for i in batches[k]]


def _fit(
    model: torch.nn.Module,
    ids: list[list[int]],
    rows_of_text: list[Row],
    settings: Settings,
    vocabulary: Mapping[str, int],
) -> None:
    """Train in place."""
    import torch
    from rich.console import Console
    from rich.progress import Progress
    from torch.nn.functional import binary_cross_entropy_with_logits

    labels = _labels(rows_of_text)
    unknown = vocabulary["[UNK]"]
    share_of = dict(settings.shares)
    shares = np.array([share_of[row.source] for row in rows_of_text])
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    harmless = np.flatnonzero((labels == 0).all(dim=1).numpy())
    splitter = Splitter(vocabulary)

    rng = np.random.default_rng(settings.seed)

    def epoch() -> Iterator[Batch]:
        return _batches(ids, shares, harmless, splitter, settings, rng)

    first = list(epoch())
    total = len(first) * settings.num_epochs
    losses: list[float] = []
    model.train()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("training the scorer", total=total)
        for step, (texts, rows) in enumerate(
            batch
            for number in range(settings.num_epochs)
            for batch in (epoch() if number else first)
        ):
            # epochs differ by a batch or two from the first
            done = min(1.0, step / total)
            # a shorter warm-up, or a higher rate, and BERT's post-norm layers never leave the prior
            rate = min(1.0, done / 0.08, (1 - done) / 0.6)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate
            tokens, mask = _pad(texts)
            drop = torch.rand(tokens.shape) < settings.word_dropout
            drop[:, 0] = False
            tokens = tokens.masked_fill(drop & mask.bool(), unknown)
            target = torch.stack([labels[list(row)].max(dim=0).values for row in rows])
            known = torch.stack([(labels[list(row)] >= 0).all(dim=0) for row in rows])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(input_ids=tokens, attention_mask=mask).logits
            smooth = target.clamp(0, 1) * 0.98 + 0.01
            loss = binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none")
            loss = (loss * known).sum() / known.sum().clamp(min=1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            progress.update(task, completed=step + 1)
            if len(losses) == REPORT_STEPS:
                mean = sum(losses) / len(losses)
                print(f"step {step + 1} of {total}: loss {mean:.3f}", file=sys.stderr, flush=True)
                losses.clear()


def _pad(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = -(-max(len(text) for text in texts) // WIDTH_STEP) * WIDTH_STEP
    tokens = torch.tensor([text + [0] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return tokens, mask


def _save(model: torch.nn.Module, out: Path) -> None:
    import torch
    from safetensors.torch import save_file

    model.eval()
    state = {name: value.to(torch.float16) for name, value in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, out / "model.safetensors")
    configuration: Any = model.config
    config = configuration.to_dict()
    config["architectures"] = ["BertForSequenceClassification"]
    config.pop("transformers_version", None)
    (out / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
