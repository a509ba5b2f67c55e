"""What two answers to the same question differ in: outcomes of each, and likeness of the two.

An outcome is a number in [0, 1] of one answer; a contrast is the group's outcome minus its
reference's, in [-1, 1], 0 where the two were treated alike. Likeness is of the two texts,
1 for the same words; it has no sign and no group to blame, so it is shown and never judged.

Likeness and ``sentiment_bias`` are langfair's (Bouchard 2024, https://arxiv.org/abs/2407.10853,
section 4), with two differences: sentences are told apart by their full stops, where langfair
uses NLTK's downloaded model, and two equal answers have a BLEU of 1, where its smoothing
gives equal answers of fewer than four words less.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audit.toxicity import Scorer
from train.synth import judge_answer

Outcome = Literal["granted", "refusal", "toxicity", "sentiment", "length"]
Embed = Callable[[Sequence[str]], NDArray[np.float64]]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def granted(tags: Mapping[str, Any], answer: str) -> float | None:
    """1 where the generator's own rule finds the answer right, else 0; None without a rule."""
    if "action" not in tags:
        return None
    return float(judge_answer(tags, answer).right)


def refused(answer: str) -> float:
    """1 where the answer declines (``audit.refusal``), else 0."""
    from audit.refusal import is_refusal

    return float(is_refusal(answer))


def toxicities(answers: Sequence[str], scorer: Scorer) -> list[float]:
    """The scorer's toxicity of each answer, every text scored once."""
    different = list(dict.fromkeys(answers))
    scored = [one["toxicity"] for one in scorer.score(different)] if different else []
    by_text = dict(zip(different, scored, strict=True))
    return [float(by_text[answer]) for answer in answers]


def sentiment(answer: str) -> float:
    """VADER's compound score moved to [0, 1]: .5 is neutral, more is friendlier.

    Source: Hutto & Gilbert 2014, VADER, ICWSM 8:216-225.
    """
    return (_polarity(answer)["compound"] + 1) / 2


def negativity(answer: str) -> float:
    """VADER's share of negative words, in [0, 1]."""
    return _polarity(answer)["neg"]


@functools.lru_cache(maxsize=65_536)
def _polarity(answer: str) -> dict[str, float]:
    return {name: float(value) for name, value in _analyzer().polarity_scores(answer).items()}


@functools.cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def num_words(answer: str) -> int:
    return len(answer.split())


def length_contrast(answer: str, reference: str) -> float:
    """Difference in words as a share of the longer answer, in [-1, 1]; 0 for two empty ones."""
    mine, other = num_words(answer), num_words(reference)
    return (mine - other) / max(mine, other, 1)


def bleu(one: str, other: str) -> float:
    """The lower BLEU-4 of the two directions, small letters, in [0, 1]; 1 for equal answers.

    Precisions without a match count as .1 matches. Source: Papineni et al. 2002, ACL 311-318;
    smoothing: Chen & Cherry 2014, WMT 362-367, technique 1.
    """
    if one == other:
        return 1.0
    return min(_bleu(one, other), _bleu(other, one))


@functools.lru_cache(maxsize=65_536)
def _bleu(reference: str, text: str) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method1
    return float(sentence_bleu([_tokens(reference)], _tokens(text), smoothing_function=smoothing))


@functools.lru_cache(maxsize=65_536)
def _tokens(text: str) -> list[str]:
    from nltk.tokenize import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    sentences = _SENTENCE_END.split(text.lower())
    return [token for sentence in sentences for token in tokenizer.tokenize(sentence)]


@functools.lru_cache(maxsize=65_536)
def rouge_l(one: str, other: str) -> float:
    """F-measure of the longest common subsequence of stemmed words, in [0, 1].

    rouge-score's words and figure; rapidfuzz finds the subsequence, many words at a time.
    Source: Lin 2004, ROUGE, Text Summarization Branches Out, 74-81.
    """
    from rapidfuzz.distance import LCSseq
    from rouge_score.scoring import fmeasure

    mine, theirs = _words(one), _words(other)
    if not mine or not theirs:
        return 0.0
    common = LCSseq.similarity(mine, theirs)
    return float(fmeasure(common / len(theirs), common / len(mine)))


@functools.lru_cache(maxsize=65_536)
def _words(text: str) -> list[str]:
    from rouge_score.tokenize import tokenize

    words: list[str] = tokenize(text, _stemmer())
    return words


@functools.cache
def _stemmer() -> _Stemmer:
    return _Stemmer()


class _Stemmer:
    """Porter's, as rouge-score asks for it, each word once: it takes most of the time."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = functools.lru_cache(maxsize=65_536)(PorterStemmer().stem)


def cosines(ones: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of each pair of rows (N pairs, E dimensions), in [-1, 1]; 0 for a zero vector."""
    lengths = np.linalg.norm(ones, axis=1) * np.linalg.norm(others, axis=1)
    products = (ones * others).sum(axis=1)
    found: NDArray[np.float64] = np.zeros_like(products)
    np.divide(products, lengths, out=found, where=lengths > 0)
    return found


def sentiment_bias(ones: Sequence[str], others: Sequence[str]) -> float:
    """Wasserstein-1 distance of two equally large samples' negativity, in [0, 1].

    Source: Huang et al. 2020, https://arxiv.org/abs/1911.03064, section 3.
    """
    mine, theirs = (np.sort([negativity(text) for text in texts]) for texts in (ones, others))
    return float(np.abs(mine - theirs).mean()) if len(mine) else 0.0


def open_embedding(folder: Path) -> Embed:
    """Mean of a local Hugging Face encoder's last states, as sentence encoders pool them.

    Only safetensors are read, and computed in float32. Of a text the first 256 tokens count, or
    as many as the encoder has positions for. (N texts) -> shape (N, hidden size).
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    model.eval()
    longest = min(256, model.config.max_position_embeddings)

    def embed(texts: Sequence[str]) -> NDArray[np.float64]:
        rows = []
        for start in range(0, len(texts), 64):
            batch = tokenizer(
                list(texts[start : start + 64]),
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
            with torch.inference_mode():
                states = model(
                    input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
                ).last_hidden_state
            mask = batch["attention_mask"][..., None]
            rows.append((states * mask).sum(1) / mask.sum(1))
        return torch.cat(rows).double().numpy() if rows else np.zeros((0, 1))

    return embed
