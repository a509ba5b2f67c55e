"""Our toxicity figures beside langfair's: the same texts, the same scorer, one run.

    python -m audit.bench_langfair --data ../shared/data [--checkpoint FOLDER]

langfair is installed in an environment of its own with our versions of torch, transformers
and detoxify. Both sides load the bundled scorer in detoxify's format and run it with as
many threads; langfair gets the batch size that is fastest for it. Repeats are interleaved.
Texts are a checkpoint's samples where one is given, else what Wikipedia says after BOLD's
prompts, 25 texts in the place of one prompt's samples. Loading is not counted, nor is
generating, which langfair leaves to a model's provider, one call for each response.

Ours is faster for two reasons: texts of like length are scored together, so that little of
a batch is padding, and each distinct text once; and figures come from one array, where
langfair looks through all responses once for each prompt and figure.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audit.completion_metrics import (
    Scores,
    expected_maximum_toxicity,
    toxic_fraction,
    toxicity_probability,
)
from audit.counterfactual_measures import rouge_l, sentiment_bias
from audit.prompt_sets import read_prompts
from audit.sampled import CompletionConfig, sample, toxicities
from audit.toxicity import BUNDLED, open_scorer
from eval.runner import open_runner
from registry.records import UserError

LANGFAIR = "0.8.0"
SAME_VERSIONS = ("torch", "transformers", "detoxify")
NUMPY_1_ARROW = "pyarrow<22"  # langfair wants numpy 1, newer pyarrow does not start with it
NUM_SAMPLES = 25
THRESHOLD = 0.5
TARGET = 3.0
TOLERANCE = 1e-5  # a score differs in the last places with the batch it is in
BATCH_SIZES = (32, 64, 128, 250)
TUNED_ON = 1500
NUM_PAIRS = 500
PAIR_REPEATS = 9  # each takes a fraction of a second, which anything else on the machine moves
MAX_WORDS = 64  # longer texts the bundled scorer reads in windows, where detoxify cuts them off


class LangfairError(UserError):
    """langfair cannot be installed or does not answer."""


@dataclass(frozen=True)
class Texts:
    """``texts[p * k + s]`` is sample s of prompt p."""

    texts: list[str]
    num_samples: int
    origin: str

    @property
    def num_prompts(self) -> int:
        return len(self.texts) // self.num_samples

    @property
    def prompts(self) -> list[str]:
        """A name for each text's prompt."""
        return [f"prompt {n // self.num_samples}" for n in range(len(self.texts))]

    def first(self, num_prompts: int) -> Texts:
        return Texts(self.texts[: num_prompts * self.num_samples], self.num_samples, self.origin)


def our_figures(scores_PK: Scores, *, threshold: float = THRESHOLD) -> dict[str, float]:
    """The three figures under langfair's names."""
    return {
        "Toxic Fraction": toxic_fraction(scores_PK, threshold=threshold),
        "Expected Maximum Toxicity": expected_maximum_toxicity(scores_PK),
        "Toxicity Probability": toxicity_probability(scores_PK, threshold=threshold),
    }


def texts_of(data: Path, checkpoint: Path | None, num_prompts: int | None) -> Texts:
    """So many prompts with NUM_SAMPLES texts each; all there are where None."""
    if checkpoint is not None:
        config = CompletionConfig(
            prompt_set="bold", data=data / "bold", max_prompts=num_prompts, samples=NUM_SAMPLES
        )
        found = sample(open_runner(checkpoint), config)
        texts = [text for p in found.answered for text in found.texts[p] or ()]
        return Texts(texts, NUM_SAMPLES, f"samples of {checkpoint.name} after BOLD's prompts")
    written = [prompt.human for prompt in read_prompts("bold", data / "bold")]
    known = [text for text in written if text is not None and len(text.split()) <= MAX_WORDS]
    most = len(known) // NUM_SAMPLES
    kept = known[: NUM_SAMPLES * min(num_prompts or most, most)]
    return Texts(kept, NUM_SAMPLES, "what Wikipedia says after BOLD's prompts")


def default_environment() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hallmark" / f"langfair-{LANGFAIR}"


def installed(environment: Path) -> Path:
    """The Python of an environment that has langfair, made where it is not there yet."""
    python = environment / "bin" / "python"
    packages = [f"langfair=={LANGFAIR}", NUMPY_1_ARROW]
    packages += [f"{name}=={importlib.metadata.version(name)}" for name in SAME_VERSIONS]
    done = environment / ".installed"
    if done.is_file() and done.read_text() == "\n".join(packages):
        return python
    print(f"installing langfair {LANGFAIR} into {environment}", flush=True)
    venv.create(environment, clear=True)
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"]
    # what pip is configured with, as requirements/install.sh does; then PyTorch's own builds
    surroundings = dict(os.environ)
    for variable, key in (("UV_FIND_LINKS", "find-links"), ("UV_DEFAULT_INDEX", "index-url")):
        value = os.environ.get(f"PIP_{key.replace('-', '_').upper()}") or _configured(key)
        if value:
            surroundings.setdefault(variable, value)
    for more in ([], ["--torch-backend", "cpu"]):
        outcome = subprocess.run(
            [*uv, "--python", str(python), *more, *packages],
            env=surroundings, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if outcome.returncode == 0:
            done.write_text("\n".join(packages))
            return python
    last = outcome.stderr.strip().splitlines()[-1:] or ["no reason given"]
    raise LangfairError(
        f"langfair {LANGFAIR} could not be installed into {environment}: {last[0]}; check the "
        "network, or leave the comparison out"
    )


def _configured(key: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", f"global.{key}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return outcome.stdout.strip()


def pack_scorer(path: Path) -> None:
    """The bundled scorer as one of detoxify's checkpoints, which langfair's side opens."""
    import torch
    from safetensors.torch import load_file

    labels = json.loads((BUNDLED / "config.json").read_bytes())["id2label"]
    classes = [labels[str(index)] for index in range(len(labels))]
    arguments = {
        "model_type": str(BUNDLED),
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "PreTrainedTokenizerFast",
        "num_classes": len(classes),
    }
    config = {"arch": {"args": arguments}, "dataset": {"args": {"classes": classes}}}
    weights = load_file(BUNDLED / "model.safetensors")
    state = {name: value.to(torch.float32) for name, value in weights.items()}
    torch.save({"config": config, "state_dict": state}, path)


class Langfair:
    """langfair in its own process; every call gives seconds, processor seconds and the result."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._read()

    def call(self, method: str, **arguments: Any) -> tuple[float, float, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"method": method, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        return answer["seconds"], answer["processor"], answer["result"]

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise LangfairError(
                f"langfair ended with exit code {self.process.wait()}; run with --verbose to see "
                "what it says, or delete its environment and run again"
            )
        return json.loads(line)


@contextmanager
def langfair_process(python: Path, *, verbose: bool) -> Iterator[Langfair]:
    """langfair with the bundled scorer loaded; ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="hallmark-bench-") as private:
        checkpoint = Path(private) / "scorer.ckpt"
        pack_scorer(checkpoint)
        process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("langfair_side.py")), str(checkpoint)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        try:
            yield Langfair(process)
        finally:
            process.terminate()
            process.wait()


def ours(texts: Texts, scores: Sequence[float] | None = None) -> tuple[float, float, Any]:
    """Seconds, processor seconds, and the three figures."""
    scorer = open_scorer()
    began, worked = time.perf_counter(), time.process_time()
    known = toxicities(scorer, texts.texts) if scores is None else scores
    figures = our_figures(np.reshape(np.asarray(known), (-1, texts.num_samples)))
    return time.perf_counter() - began, time.process_time() - worked, figures


def compare_with_langfair(
    data: Path,
    *,
    checkpoint: Path | None = None,
    num_prompts: int | None = None,
    repeats: int = 3,
    environment: Path | None = None,
    verbose: bool = False,
) -> None:
    """Print both sides' figures, their times and the ratio. Raises LangfairError."""
    python = installed(environment or default_environment())
    texts = texts_of(data, checkpoint, num_prompts)
    with langfair_process(python, verbose=verbose) as langfair:
        size = best_batch_size(langfair, texts)
        print(
            f"\nlangfair {LANGFAIR}, toxicity of {len(texts.texts)} texts "
            f"({texts.num_prompts} prompts x {texts.num_samples}): {texts.origin}"
        )
        print(f"bundled scorer, {os.environ.get('OMP_NUM_THREADS', 'all')} threads, "
              f"langfair's batches of {size}")  # fmt: skip
        asked = {"texts": texts.texts, "prompts": texts.prompts, "threshold": THRESHOLD}
        _warm_up(langfair, texts)
        runs = []
        for repeat in range(repeats):
            if repeat % 2 == 0:
                mine, theirs = ours(texts), langfair.call("evaluate", batch_size=size, **asked)
            else:
                theirs, mine = langfair.call("evaluate", batch_size=size, **asked), ours(texts)
            runs.append((mine, theirs))
        _print_values(runs[-1][0][2], runs[-1][1][2])
        _print_times(runs)
        _print_figures_alone(langfair, texts)
        _compare_counterfactual(langfair, texts, PAIR_REPEATS)


def _warm_up(langfair: Langfair, texts: Texts) -> None:
    few = texts.first(4)
    ours(few)
    langfair.call("evaluate", texts=few.texts, prompts=few.prompts)


def best_batch_size(langfair: Langfair, texts: Texts) -> int:
    """The fastest of BATCH_SIZES on every so manieth text, the better of two tries each."""
    some = texts.texts[:: max(1, len(texts.texts) // TUNED_ON)]
    seconds = {
        size: min(langfair.call("scores", texts=some, batch_size=size)[0] for _ in range(2))
        for size in BATCH_SIZES
    }
    return min(seconds, key=seconds.__getitem__)


def _print_values(mine: dict[str, float], theirs: dict[str, float]) -> None:
    print(f"  {'figure':28s} {'ours':>10s} {'langfair':>10s}")
    for name, value in mine.items():
        print(f"  {name:28s} {value:10.6f} {theirs[name]:10.6f}")
    largest = max(abs(value - theirs[name]) for name, value in mine.items())
    print(f"  largest difference {largest:.1e}, target {TOLERANCE}: {_met(largest <= TOLERANCE)}")


def _print_times(runs: Sequence[tuple[tuple[float, float, Any], tuple[float, float, Any]]]) -> None:
    print("  repeat   ours, s   langfair, s   ratio   ratio of processor time")
    ratios = []
    for number, (mine, theirs) in enumerate(runs, 1):
        ratios.append(theirs[0] / mine[0])
        print(
            f"  {number:6d} {mine[0]:9.2f} {theirs[0]:13.2f} {ratios[-1]:7.2f} "
            f"{theirs[1] / mine[1]:25.2f}"
        )
    middle = statistics.median(ratios)
    print(
        f"  ratio {middle:.2f} (from {min(ratios):.2f} to {max(ratios):.2f}), target {TARGET}: "
        f"{_met(middle >= TARGET)}"
    )


def _print_figures_alone(langfair: Langfair, texts: Texts) -> None:
    """langfair looks through all responses for each prompt and figure, so its time grows with
    the square of the prompts."""
    print("  from scores to figures, without scoring")
    print("  prompts   ours, ms   langfair, ms   ratio")
    for num_prompts in (texts.num_prompts // 4, texts.num_prompts // 2, texts.num_prompts):
        part = texts.first(num_prompts)
        scores = np.random.default_rng(0).random(len(part.texts)).tolist()
        mine = ours(part, scores)
        theirs = langfair.call(
            "evaluate", texts=part.texts, prompts=part.prompts, scores=scores, threshold=THRESHOLD
        )
        print(
            f"  {num_prompts:7d} {1000 * mine[0]:10.2f} {1000 * theirs[0]:14.1f} "
            f"{theirs[0] / mine[0]:7.0f}"
        )


def our_counterfactual(ones: Sequence[str], others: Sequence[str]) -> dict[str, float]:
    """Mean likeness and sentiment bias of the pairs, under langfair's names."""
    return {
        "RougeL Similarity": float(
            np.mean([rouge_l(*two) for two in zip(ones, others, strict=True)])
        ),
        "Sentiment Bias": sentiment_bias(ones, others),
    }


def _compare_counterfactual(langfair: Langfair, texts: Texts, repeats: int) -> None:
    """Pairs of neighbouring texts. Each repeat has pairs of its own, since ours keeps what it
    found out about a text."""
    num = min(2 * NUM_PAIRS, len(texts.texts) // (repeats + 1) // 2 * 2)
    print(f"counterfactual metrics of {num // 2} pairs of those texts")
    runs = []
    for repeat in range(repeats + 1):
        part = texts.texts[repeat * num : (repeat + 1) * num]
        ones, others = part[::2], part[1::2]
        began, worked = time.perf_counter(), time.process_time()
        figures = our_counterfactual(ones, others)
        mine = time.perf_counter() - began, time.process_time() - worked, figures
        runs.append((mine, langfair.call("counterfactual", ones=ones, others=others)))
    _print_values(runs[-1][0][2], runs[-1][1][2])
    _print_times(runs[1:])  # the first warms up


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets")
    parser.add_argument("--checkpoint", type=Path, help="a published checkpoint to sample from")
    parser.add_argument("--prompts", type=int, help="at most so many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--environment", type=Path, help="where langfair is, or is installed")
    parser.add_argument("--verbose", action="store_true", help="show what langfair prints")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        compare_with_langfair(
            options.data,
            checkpoint=options.checkpoint,
            num_prompts=options.prompts,
            repeats=options.repeats,
            environment=options.environment,
            verbose=options.verbose,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    main()
