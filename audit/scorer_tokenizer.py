"""The bundled scorer's WordPiece tokenizer, which also undoes common spelling tricks.

Lower-cased and without accents; links, mentions and HTML entities go; "s t u p i d"
and "stup1d" become words again and "stuuuupid" loses all but two of its letters. The rules
are part of tokenizer.json, so that detoxify applies them too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 128
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# (Oniguruma pattern, replacement), applied in order to lower-cased text.
_RULES = (
    (r"https?://\S+", " "),
    (r"&#?\w+;", " "),
    (r"@\w+:?", " "),
    (r"\brt\b", " "),
    (r"(?<=[a-z*])@(?=[a-z])", "a"),
    (r"(?<=[a-z])4(?=[a-z])", "a"),
    (r"(?<=[a-z])3(?=[a-z])", "e"),
    (r"(?<=[a-z])[1!|](?=[a-z])", "i"),
    (r"(?<=[a-z])0+(?=[a-z])", "o"),
    (r"(?<=[a-z])[5$](?=[a-z])", "s"),
    (r"(?<=[a-z])7(?=[a-z])", "t"),
    (r"(?<=\b[a-z])[ .\-_*]+(?=[a-z]\b)", ""),
    (r"([a-z])(?=\1\1)", ""),
    (r"[\u2018\u2019]", "'"),
    (r"[\u201c\u201d]", '"'),
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, out: Path) -> Any:
    """Learn the pieces, write tokenizer.json, tokenizer_config.json and vocab.txt to ``out``."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    rules = [normalizers.Replace(Regex(pattern), to) for pattern, to in _RULES]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.BertNormalizer(lowercase=True, strip_accents=True), *rules]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=3,
        special_tokens=list(SPECIAL),
        limit_alphabet=200,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_TOKENS,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    (out / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in vocabulary))
    return tokenizer


class Splitter:
    """Breaks a piece in two at random, as a misspelt word would be broken.

    So the model also meets a known word in pieces (Hiraoka 2022, MaxMatch-Dropout,
    https://aclanthology.org/2022.coling-1.430, at one place instead of any).
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._ids = dict(vocabulary)
        self._pieces = {i: piece for piece, i in vocabulary.items()}

    def split(self, piece_id: int, rng: np.random.Generator) -> list[int]:
        """Ids that spell the same letters; the piece itself where it is short or special."""
        piece = self._pieces[piece_id]
        inside = piece.startswith("##")
        word = piece.removeprefix("##")
        if len(word) < 3 or not word.isalpha():
            return [piece_id]
        at = int(rng.integers(1, len(word)))
        first = self._longest(word[:at], inside=inside)
        second = self._longest(word[at:], inside=True)
        return [piece_id] if first is None or second is None else first + second

    def _longest(self, word: str, *, inside: bool) -> list[int] | None:
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                one = self._ids.get(("##" if inside or start else "") + word[start:end])
                if one is not None:
                    found.append(one)
                    start = end
                    break
            else:
                return None
        return found
