"""Outcomes and likeness of answers: by hand, and equal to langfair's stored results."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit import counterfactual_measures as measures
from audit.toxicity import BUNDLED
from train import synth


@pytest.fixture(scope="module")
def langfair(shared_data: Path) -> tuple[list[str], list[str], dict[str, Any]]:
    """Two lists of answers and what langfair computed from them, in order of its tests: BLEU,
    cosine of the stored embeddings, ROUGE-L, sentiment bias."""
    folder = shared_data / "langfair" / "tests" / "counterfactual"
    texts = json.loads((folder / "counterfactual_data_file.json").read_bytes())
    results = json.loads((folder / "counterfactual_results_file.json").read_bytes())
    return texts["text1"], texts["text2"], results


def test_bleu_is_langfairs(langfair: tuple[list[str], list[str], dict[str, Any]]) -> None:
    ones, others, results = langfair
    mine = np.mean([measures.bleu(*pair) for pair in zip(ones, others, strict=True)])
    assert mine == pytest.approx(results["test1"], rel=1e-12)


def test_rouge_l_is_rouge_scores_own_figure() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    own = RougeScorer(["rougeL"], use_stemmer=True)
    words = ["Where", "are", "my", "orders,", "ordering", "ordered", "it's", "42", "running", "é"]
    texts = [" ".join(words[start : start + 6]) for start in range(5)] * 2
    texts += ["", "...", " ".join(words * 9), " ".join(reversed(words * 9))]
    for one, other in itertools.product(texts, repeat=2):
        assert measures.rouge_l(one, other) == own.score(one, other)["rougeL"].fmeasure


def test_rouge_l_is_langfairs(langfair: tuple[list[str], list[str], dict[str, Any]]) -> None:
    ones, others, results = langfair
    mine = np.mean([measures.rouge_l(*pair) for pair in zip(ones, others, strict=True)])
    assert mine == pytest.approx(results["test3"], rel=1e-12)


def test_cosine_of_the_stored_embeddings_is_langfairs(
    langfair: tuple[list[str], list[str], dict[str, Any]],
) -> None:
    ones, others = (np.array(rows) for rows in langfair[2]["embeddings"])
    # langfair computed it in single precision
    assert measures.cosines(ones, others).mean() == pytest.approx(langfair[2]["test2"], rel=1e-6)


def test_sentiment_bias_is_langfairs(langfair: tuple[list[str], list[str], dict[str, Any]]) -> None:
    ones, others, results = langfair
    assert measures.sentiment_bias(ones, others) == results["test4"] == 0.0


def test_equal_answers_are_alike_however_short() -> None:
    # langfair's smoothing gives two equal answers of two tokens (.1 * .1) ** .25 = .316
    assert measures.bleu("Okay.", "Okay.") == 1.0
    assert measures.rouge_l("Okay.", "Okay.") == 1.0


def test_bleu_is_the_lower_of_both_directions() -> None:
    one, other = "it is on the way to you", "it is on the way to you and comes today"
    # seven words are all in ten: precisions 1, brevity exp(1 - 10/7); the other way
    # 7/10, 6/9, 5/8, 4/7 and no brevity
    forth = math.exp(1 - 10 / 7)
    back = (7 / 10 * 6 / 9 * 5 / 8 * 4 / 7) ** 0.25
    assert measures.bleu(one, other) == measures.bleu(other, one)
    assert measures.bleu(one, other) == pytest.approx(min(forth, back), abs=1e-12)


def test_cosine_of_a_zero_vector_is_zero() -> None:
    ones, others = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0]])
    assert measures.cosines(ones, others) == pytest.approx([math.sqrt(0.5), 0.0])


def test_an_encoders_vector_is_the_mean_of_its_states_whatever_else_is_in_the_batch() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["It is on its way.", "We sent it on Monday, and it should reach you by Friday.", "No."]
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    model = AutoModel.from_pretrained(BUNDLED, dtype=torch.float32).eval()  # a BERT, if a small one
    with torch.inference_mode():
        alone = [
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
            for text in texts
        ]
    embed = measures.open_embedding(BUNDLED)
    together = embed(texts)
    assert together == pytest.approx(torch.stack(alone).numpy(), abs=1e-4)
    assert measures.cosines(together, together) == pytest.approx(np.ones(3))
    assert measures.cosines(together[:1], together[2:])[0] < 0.999
    assert embed(["word " * 400]).shape == together[:1].shape  # longer than its positions


def test_length_is_a_share_of_the_longer_answer() -> None:
    assert measures.length_contrast("a b c", "a b c d") == -0.25
    assert measures.length_contrast("a b c d", "a b c") == 0.25
    assert measures.length_contrast("", "") == 0.0
    assert measures.length_contrast("a", "") == 1.0


def test_sentiment_is_neutral_at_one_half_and_friendlier_above() -> None:
    assert measures.sentiment("The order is 4512.") == 0.5
    assert measures.sentiment("What a great and happy day!") > 0.8
    assert measures.sentiment("This is a terrible, stupid shop.") < 0.2
    assert measures.negativity("The order is 4512.") == 0.0


def test_sentiment_bias_compares_the_two_groups_as_wholes() -> None:
    sad, plain = "This is terrible.", "The order is here."
    assert measures.sentiment_bias([sad, plain], [plain, sad]) == 0.0
    one_sided = measures.sentiment_bias([sad, plain], [plain, plain])
    assert one_sided == pytest.approx(measures.negativity(sad) / 2)
    assert measures.sentiment_bias([], []) == 0.0


def test_a_request_is_granted_where_the_rule_finds_the_answer_right() -> None:
    (question,) = synth.first_questions(1, seed=3)
    assert measures.granted(question.tags, str(question.tags["reference"])) == 1.0
    assert measures.granted(question.tags, "I am sorry, but I cannot help you with that.") == 0.0
    assert measures.granted({}, "anything") is None


class OneByOne:
    """A scorer that counts how many texts it was given."""

    name, digest = "counted", "sha256:0"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def score(self, texts: Any) -> list[dict[str, float]]:
        self.seen += texts
        return [{"toxicity": len(text) / 10} for text in texts]


def test_each_text_is_scored_once() -> None:
    scorer = OneByOne()
    assert measures.toxicities(["aa", "b", "aa"], scorer) == [0.2, 0.1, 0.2]
    assert scorer.seen == ["aa", "b"]
    assert measures.toxicities([], scorer) == []
