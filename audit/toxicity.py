"""The ruler: toxicity of texts through detoxify, with a scorer that is always there.

``bundled`` is the package's own small BERT (audit/scorer, two classes: toxicity and
identity_attack). ``detoxify:original``, ``detoxify:unbiased`` and
``detoxify:multilingual`` are the official checkpoints from a file that the user has.
Those are pickles: nothing is unpickled before the file's sha256 begins with the hash in
its release name, or equals the whole sha256 that the user pins.
"""

from __future__ import annotations

import functools
import json
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from registry.records import UserError, describe_unknown, digest_of, file_sha256

BUNDLED = Path(__file__).parent / "scorer"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
BATCH = 64
# What the bundled scorer was trained to read at once; longer texts are read in windows.
WINDOW_WORDS = 64


class ScorerError(UserError):
    """A scorer is not to be had: unknown name, missing file, or a file that must not be opened."""


class Scorer(Protocol):
    """Gives each text a score in [0, 1] for each class; a list in the order of the texts."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """``sha256:...`` over the files that decide a score."""
        ...

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]: ...


@dataclass(frozen=True)
class Official:
    """A release file of detoxify and the Hugging Face folder its tokenizer comes from."""

    file: str
    release: str
    folder: str

    @property
    def hash_prefix(self) -> str:
        return self.file.rsplit("-", 1)[1].removesuffix(".ckpt")


OFFICIAL = {
    "detoxify:original": Official(
        "toxic_original-c1212f89.ckpt", "v0.1-alpha", "bert-base-uncased"
    ),
    "detoxify:unbiased": Official("toxic_debiased-c7548aa0.ckpt", "v0.3-alpha", "roberta-base"),
    "detoxify:multilingual": Official(
        "multilingual_debiased-0b549669.ckpt", "v0.4-alpha", "xlm-roberta-base"
    ),
}


def open_scorer(
    name: str = "bundled",
    path: Path | None = None,
    *,
    base_model: Path | None = None,
    sha256: str | None = None,
) -> Scorer:
    """The scorer of that name; opened once for each process where its arguments repeat.

    An official one needs ``path``, the downloaded release file, and ``base_model``, the
    folder with the config and tokenizer of the model it was made from (by default
    beside the file, under its Hugging Face name). ``sha256`` pins the whole hash.
    """
    return _opened(name, path, base_model, sha256)


@functools.lru_cache(maxsize=4)
def _opened(name: str, path: Path | None, base_model: Path | None, sha256: str | None) -> Scorer:
    if name == "bundled":
        return _open_bundled(path or BUNDLED)
    if name not in OFFICIAL:
        raise ScorerError(describe_unknown("scorer", name, ["bundled", *OFFICIAL]))
    checkpoint, folder = verified(name, path, base_model, sha256)
    return _open_official(name, checkpoint, folder, scorer_digest(name, path))


def scorer_digest(name: str = "bundled", path: Path | None = None) -> str:
    """``sha256:...`` over the files that decide a score, without opening them as a model."""
    if name == "bundled":
        folder = path or BUNDLED
        _require_files(folder)
        return digest_of({file: file_sha256(folder / file) for file in FILES})
    if name not in OFFICIAL:
        raise ScorerError(describe_unknown("scorer", name, ["bundled", *OFFICIAL]))
    if path is None or not path.is_file():
        raise ScorerError(f"{name}: {_where(path)}; {_download(name)} and give its path")
    return "sha256:" + file_sha256(path)


def _where(path: Path | None) -> str:
    return "no path was given" if path is None else f"{path} is not a file"


def _download(name: str) -> str:
    official = OFFICIAL[name]
    return (
        "download https://github.com/unitaryai/detoxify/releases/download/"
        f"{official.release}/{official.file}"
    )


def _require_files(folder: Path) -> None:
    for file in FILES:
        if not (folder / file).is_file():
            raise ScorerError(
                f"the scorer in {folder} lacks {file}; train it with "
                f"python -m audit.train_scorer --data DATA --out {folder}"
            )


def verified(
    name: str, path: Path | None, base_model: Path | None = None, sha256: str | None = None
) -> tuple[Path, Path]:
    """The official checkpoint's file and base folder, its hash checked. Raises ScorerError."""
    official = OFFICIAL[name]
    if path is None or not path.is_file():
        raise ScorerError(f"{name}: {_where(path)}; {_download(name)} and give its path")
    found = file_sha256(path)
    if sha256 is not None and found != sha256.lower().removeprefix("sha256:"):
        raise ScorerError(
            f"{name}: {path} has sha256 {found}, pinned is {sha256}; "
            f"it was not opened; {_download(name)} again"
        )
    if not found.startswith(official.hash_prefix):
        raise ScorerError(
            f"{name}: {path} has sha256 {found[:12]}..., its release {official.file} begins with "
            f"{official.hash_prefix}; it was not opened; {_download(name)} again"
        )
    folder = base_model or path.parent / official.folder
    if not (folder / "config.json").is_file():
        raise ScorerError(
            f"{name}: {folder} has no config.json; place the configuration and tokenizer files "
            f"of {official.folder} there, or name their folder as base_model"
        )
    return path, folder


def _open_bundled(folder: Path) -> Scorer:
    """The shipped safetensors in detoxify's format."""
    _require_files(folder)
    from safetensors.torch import load_file

    labels = json.loads((folder / "config.json").read_bytes())["id2label"]
    classes = [labels[str(i)] for i in range(len(labels))]
    weights = load_file(folder / "model.safetensors")
    packed: dict[str, Any] = {
        "config": {
            "arch": {
                "args": {
                    "model_name": "BertForSequenceClassification",
                    "tokenizer_name": "PreTrainedTokenizerFast",
                    "num_classes": len(classes),
                }
            },
            "dataset": {"args": {"classes": classes}},
        },
        "state_dict": {key: value.float() for key, value in weights.items()},
    }
    return _open_packed(
        "bundled", packed, folder, scorer_digest("bundled", folder), window_words=WINDOW_WORDS
    )


def _open_official(name: str, checkpoint: Path, folder: Path, digest: str) -> Scorer:
    """A release file whose hash was checked: only now is it unpickled."""
    import torch

    packed = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return _open_packed(name, packed, folder, digest, window_words=None)


def _open_packed(
    name: str, packed: dict[str, Any], folder: Path, digest: str, *, window_words: int | None
) -> Scorer:
    """Write detoxify's pickle to a private folder, load that, and delete it.

    detoxify takes the configuration and tokenizer from ``model_type``: a name on a hub in the
    release files, and here always a local folder, so that nothing is looked up.
    """
    import torch

    packed["config"]["arch"]["args"]["model_type"] = str(folder)
    with tempfile.TemporaryDirectory(prefix="hallmark-scorer-") as private:  # made with 0700
        checkpoint = Path(private) / "scorer.ckpt"
        checkpoint.touch(mode=0o600)
        torch.save(packed, checkpoint)
        return _Detoxify(name, checkpoint, digest, window_words=window_words)


class _Detoxify:
    """detoxify's model behind ``Scorer``: batches of like length, always a list of dicts."""

    def __init__(
        self,
        name: str,
        checkpoint: Path,
        digest: str,
        *,
        window_words: int | None,
    ) -> None:
        from detoxify import Detoxify
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.name = name
        self.digest = digest
        self._window_words = window_words
        self._model = Detoxify(checkpoint=str(checkpoint))
        self._model.model.eval()
        self._lock = threading.Lock()

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Scores in [0, 1]. A long text has, for each class, the highest of its windows.

        Equal texts are scored once, and texts of as many tokens together: padding is computed too.
        """
        pieces = [(text, piece) for text in dict.fromkeys(texts) for piece in self._windows(text)]
        scores: dict[str, dict[str, float]] = {text: {} for text in texts}
        if not pieces:
            return []
        with self._lock:
            tokens = self._model.tokenizer([piece for _, piece in pieces], truncation=True)
            lengths = [len(ids) for ids in tokens["input_ids"]]
            shortest_first = sorted(range(len(pieces)), key=lengths.__getitem__)
            for start in range(0, len(pieces), BATCH):
                batch = shortest_first[start : start + BATCH]
                rows = self._predict({name: [of[i] for i in batch] for name, of in tokens.items()})
                for number, row in zip(batch, rows, strict=True):
                    known = scores[pieces[number][0]]
                    for label, value in zip(self._model.class_names, row, strict=True):
                        known[label] = max(value, known.get(label, 0.0))
        return [dict(scores[text]) for text in texts]

    def _predict(self, tokens: Mapping[str, list[list[int]]]) -> list[list[float]]:
        """What detoxify's own ``predict`` says, which would take the tokens a second time."""
        import torch

        model = self._model
        inputs = model.tokenizer.pad(tokens, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            rows: list[list[float]] = torch.sigmoid(model.model(**inputs)[0]).tolist()
        return rows

    def _windows(self, text: str) -> list[str]:
        if self._window_words is None:
            return [text]
        words = re.findall(r"\S+", text)
        size = self._window_words
        if len(words) <= size:
            return [text]
        step = size * 3 // 4  # a quarter overlaps, so that no phrase is cut in both
        return [
            " ".join(words[start : start + size])
            for start in range(0, max(1, len(words) - size + step), step)
        ]
