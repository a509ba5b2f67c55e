"""The bar a model must clear: answering with the nearest training question's answer."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from registry.conversation import Conversation
from train.synth_rules import judge_answer

_TOKEN = re.compile(r"[a-z]+|\d+")


def nearest_neighbour_baseline(
    train: Sequence[Conversation], questions: Sequence[Conversation]
) -> float:
    """Share of questions that the most similar training turn's answer answers right, in [0, 1].

    Similarity is the cosine of TF-IDF vectors (natural-log inverse document frequency,
    add-one) over the last user message, and again over it together with the system
    message; the better of the two shares is returned. Ties go to the earlier turn.
    Raises ValueError where either side is empty.
    """
    turns = [
        (conversation.messages[0].content, conversation.messages[index - 1].content, message)
        for conversation in train
        for index, message in enumerate(conversation.messages)
        if message.role == "assistant"
    ]
    if not turns or not questions:
        raise ValueError("the baseline needs at least one training answer and one question")
    answers = [message.content for _, _, message in turns]
    asked = [question.messages[-1].content for question in questions]
    facts = [question.messages[0].content for question in questions]
    shares = []
    for known, new in (
        ([user for _, user, _ in turns], asked),
        (
            [f"{system} {user}" for system, user, _ in turns],
            [f"{system} {user}" for system, user in zip(facts, asked, strict=True)],
        ),
    ):
        nearest = _nearest(known, new)
        right = sum(
            judge_answer(question.tags, answers[index]).right
            for question, index in zip(questions, nearest, strict=True)
        )
        shares.append(right / len(questions))
    return max(shares)


def _nearest(known: Sequence[str], new: Sequence[str]) -> list[int]:
    """For each new text the index of the known text with the highest cosine."""
    counts = [Counter(_TOKEN.findall(text.lower())) for text in known]
    frequency = Counter(token for count in counts for token in count)
    weight = {
        token: 1 + math.log((1 + len(known)) / (1 + number)) for token, number in frequency.items()
    }
    postings: dict[str, tuple[list[int], list[float]]] = {token: ([], []) for token in weight}
    for index, count in enumerate(counts):
        norm = math.sqrt(sum((n * weight[t]) ** 2 for t, n in count.items())) or 1.0
        for token, number in count.items():
            rows, values = postings[token]
            rows.append(index)
            values.append(number * weight[token] / norm)
    arrays = {
        token: (np.asarray(rows), np.asarray(values, dtype=np.float32))
        for token, (rows, values) in postings.items()
    }
    found = []
    for text in new:
        scores = np.zeros(len(known), dtype=np.float32)
        for token, number in Counter(_TOKEN.findall(text.lower())).items():
            if token in arrays:
                rows_of, values_of = arrays[token]
                scores[rows_of] += number * weight[token] * values_of
        found.append(int(scores.argmax()))
    return found
