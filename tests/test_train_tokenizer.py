"""The tokenizer: digits, ChatML, and which tokens the assistant says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from registry.conversation import Message
from train.tokenizer import byte_lengths, encode_dialogues, load_tokenizer, render, train_tokenizer

TEXTS = ["Order 54881 is shipped and arrives on Sunday.", "Where is my order 54881?"] * 20
DIALOGUE = (
    Message(role="system", content="You help."),
    Message(role="user", content="Where is order 54881?"),
    Message(role="assistant", content="It is shipped."),
    Message(role="user", content="Thanks \N{SMILING FACE WITH SMILING EYES}"),
    Message(role="assistant", content="Bye."),
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(TEXTS, vocab_size=320, context=128)


def test_no_token_holds_more_than_two_digits_of_a_number(tokenizer: Any) -> None:
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("order 54881")["input_ids"])
    assert pieces[-3:] == ["54", "88", "1"]
    assert not [token for token in tokenizer.get_vocab() if re.search(r"\d{3}", token)]


def test_any_bytes_come_back_as_they_went_in(tokenizer: Any) -> None:
    text = "caf\u00e9 \u4f60\u597d\n\n  1.5\t\u00df"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_special_tokens_are_the_first_three_and_end_and_pad_are_set(tokenizer: Any) -> None:
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.bos_token is None


def test_our_rendering_is_the_chat_template_s(tokenizer: Any) -> None:
    as_dicts = [m.model_dump() for m in DIALOGUE]
    assert tokenizer.apply_chat_template(as_dicts, tokenize=False) == render(DIALOGUE)[0]
    prompt = tokenizer.apply_chat_template(as_dicts[:2], tokenize=False, add_generation_prompt=True)
    assert prompt == render(DIALOGUE[:2])[0] + "<|im_start|>assistant\n"


def test_the_mask_covers_answers_with_their_end_marker_and_nothing_else(tokenizer: Any) -> None:
    [(ids, said)] = encode_dialogues(tokenizer, [DIALOGUE])
    assert tokenizer.decode(ids) == render(DIALOGUE)[0]
    assert tokenizer.decode(ids[said]) == "It is shipped.<|im_end|>Bye.<|im_end|>"


def test_prompt_and_answer_tokenise_alone_as_they_do_together(tokenizer: Any) -> None:
    [(ids, said)] = encode_dialogues(tokenizer, [DIALOGUE[:3]])
    prompt = render(DIALOGUE[:2])[0] + "<|im_start|>assistant\n"
    assert tokenizer(prompt)["input_ids"] == ids[: said.argmax()].tolist()


def test_only_messages_from_taught_from_on_are_taught(tokenizer: Any) -> None:
    [(ids, said)] = encode_dialogues(tokenizer, [DIALOGUE], taught_from=[4])
    assert tokenizer.decode(ids[said]) == "Bye.<|im_end|>"


def test_byte_lengths_add_up_to_the_text_and_special_tokens_have_none(tokenizer: Any) -> None:
    text = "caf\u00e9 54881"
    lengths = byte_lengths(tokenizer)
    assert lengths[tokenizer(text)["input_ids"]].sum() == len(text.encode())
    assert lengths[:3].tolist() == [0, 0, 0]


def test_a_saved_tokenizer_loads_with_its_template(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").is_file()
    again = load_tokenizer(tmp_path)
    assert again.chat_template == tokenizer.chat_template
    assert again(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]


def test_training_twice_gives_the_same_tokenizer(tokenizer: Any) -> None:
    again = train_tokenizer(TEXTS, vocab_size=320, context=128)
    assert again.get_vocab() == tokenizer.get_vocab()
