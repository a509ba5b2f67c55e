"""Bits per byte, by hand over a fake and against the torch runner."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from eval.checks import BitsPerByteConfig, bits_per_byte
from eval.rows import RowsError
from eval.runner import FakeRunner
from registry.dataset import DatasetError


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_document_is_worth_its_nats_over_ln_2_and_its_utf8_bytes(tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", [{"id": "a", "text": "abc"}, {"id": "b", "text": "é"}])
    measured = bits_per_byte(FakeRunner(), BitsPerByteConfig(data=data))  # one nat a character
    first, second = measured.items
    assert first.value == pytest.approx(3 / math.log(2))
    assert (first.weight, second.weight) == (3.0, 2.0)  # é has two bytes
    # 4 nats over 5 bytes, in bits; 4 nats over 4 tokens is perplexity e
    assert measured.summary["bits_per_byte"] == pytest.approx(4 / math.log(2) / 5)
    assert measured.summary["token_perplexity"] == pytest.approx(math.e)


def test_a_conversation_is_measured_as_the_chat_template_renders_it(tmp_path: Path) -> None:
    row = {
        "id": "c",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}],
        "source": "desk",
        "licence": "CC0-1.0",
        "tags": {"intent": "hello"},
    }
    data = write(tmp_path / "c.jsonl", [row])
    [item] = bits_per_byte(FakeRunner(), BitsPerByteConfig(data=data)).items
    assert item.weight == len("user: hi\nassistant: yes\n")
    assert item.group == "desk"


def test_only_the_first_documents_are_measured_where_asked(tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", [{"id": str(n), "text": "x"} for n in range(5)])
    config = BitsPerByteConfig(data=data, max_documents=2)
    assert [item.key for item in bits_per_byte(FakeRunner(), config).items] == ["0", "1"]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], RowsError, "has no rows"),
        ([{"id": "a", "text": "x"}] * 2, RowsError, "id 'a' twice"),
        ([{"id": "a", "text": ""}], RowsError, "document 'a' is empty"),
        ([{"id": "a"}], DatasetError, r"d\.jsonl:1: .*either text or messages"),
        ([{"id": "a", "text": "x", "labels": 1}], DatasetError, r"d\.jsonl:1: .*labels"),
    ],
)
def test_a_file_that_cannot_be_measured_is_named(
    tmp_path: Path, rows: list[dict[str, Any]], error: type[Exception], message: str
) -> None:
    data = write(tmp_path / "d.jsonl", rows)
    with pytest.raises(error, match=message):
        bits_per_byte(FakeRunner(), BitsPerByteConfig(data=data))


def test_a_random_model_needs_about_log2_of_its_vocabulary(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from eval.torch_runner import TorchRunner

    text = "Any text at all, of bytes that a random model has never seen before."
    data = write(tmp_path / "d.jsonl", [{"id": "a", "text": text}])
    measured = bits_per_byte(TorchRunner(tiny_checkpoint), BitsPerByteConfig(data=data))
    # one token per byte and 259 tokens: log2(259) = 8.02
    assert measured.summary["bits_per_byte"] == pytest.approx(math.log2(259), abs=0.5)


def test_answers_alone_are_scored_after_what_was_said_before(tmp_path: Path) -> None:
    row = {
        "id": "one",
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "bye"},
            {"role": "assistant", "content": "bye"},
        ],
    }
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    config = BitsPerByteConfig(data=path, scope="answers")
    measured = bits_per_byte(FakeRunner(), config)
    # Five characters at one nat each, and five bytes: 1/ln 2 bits per byte.
    assert measured.items[0].weight == 5
    assert measured.summary["bits_per_byte"] == pytest.approx(1 / math.log(2))
    assert measured.summary["tokens"] == 5
