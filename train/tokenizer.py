"""Our own byte-level BPE with ChatML, and dialogues as token ids with a mask.

Digits are cut into pairs from the left, so that a number is copied in short pieces and one
never seen is no harder than a known one. It does not know what a token is trained for beyond
the mask: which positions of a dialogue the assistant said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.conversation import Message

END_OF_TEXT = "<|endoftext|>"
START = "<|im_start|>"
END = "<|im_end|>"
SPECIAL = (END_OF_TEXT, START, END)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, context: int) -> Any:
    """A ``PreTrainedTokenizerFast`` of at most ``vocab_size`` tokens, special ones first.

    ``context`` tokens is the longest input that the model will take. The same texts in
    the same order give the same tokenizer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[START],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def render(
    messages: Sequence[Message], *, taught_from: int = 0
) -> tuple[str, list[tuple[int, int]]]:
    """A dialogue as ChatML, and the character spans that the assistant says.

    Only messages from index ``taught_from`` on have spans.

    A span holds the answer and its end marker, not the role and not the last newline,
    so it is what the model must produce after the template's generation prompt.
    """
    text, spans = "", []
    for index, message in enumerate(messages):
        text += f"{START}{message.role}\n"
        begin = len(text)
        text += f"{message.content}{END}"
        if message.role == "assistant" and index >= taught_from:
            spans.append((begin, len(text)))
        text += "\n"
    return text, spans


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[NDArray[np.int32]]:
    """Token ids of plain texts; special tokens written in a text are recognised as such."""
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(list(texts))
    return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]


def encode_dialogues(
    tokenizer: Any,
    dialogues: Sequence[Sequence[Message]],
    *,
    taught_from: Sequence[int] | None = None,
) -> list[tuple[NDArray[np.int32], NDArray[np.bool_]]]:
    """Per dialogue its token ids and which of them the assistant says; see ``render``."""
    begins_at = taught_from or [0] * len(dialogues)
    rendered = [
        render(dialogue, taught_from=begin)
        for dialogue, begin in zip(dialogues, begins_at, strict=True)
    ]
    encodings = tokenizer.backend_tokenizer.encode_batch([text for text, _ in rendered])
    result = []
    for (_, spans), encoding in zip(rendered, encodings, strict=True):
        begins = np.asarray([begin for begin, _ in encoding.offsets], dtype=np.int64)
        said = np.zeros(len(begins), dtype=np.bool_)
        for begin, end in spans:
            said |= (begins >= begin) & (begins < end)
        result.append((np.asarray(encoding.ids, dtype=np.int32), said))
    return result


def byte_lengths(tokenizer: Any) -> NDArray[np.int64]:
    """Bytes of text per token id; 0 for special tokens. For bits per byte."""
    vocabulary = tokenizer.get_vocab()
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    special = set(tokenizer.all_special_ids)
    for token, index in vocabulary.items():
        # In the byte-level alphabet every character stands for one byte.
        lengths[index] = 0 if index in special else len(token)
    return lengths
