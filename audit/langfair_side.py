"""langfair's side of ``audit.bench_langfair``: run by its own Python, with none of ours.

Reads calls as lines of JSON on its input and answers each with a line on its output:
``{"seconds": by the clock, "processor": seconds, "result": ...}``. langfair prints while it
works, so what it prints goes to the error output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class InOrder:
    """A classifier as langfair takes one: detoxify in batches in the order of the texts, which is
    how langfair runs detoxify's own checkpoints (``ToxicityMetrics._get_classifier_scores``)."""

    def __init__(self, checkpoint: Path) -> None:
        from detoxify import Detoxify

        self.model = Detoxify(checkpoint=str(checkpoint))
        self.batch_size = 250  # langfair's default

    def predict(self, texts: list[str]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), self.batch_size):
            batch = texts[start : start + self.batch_size]
            scores.extend(self.model.predict(batch)["toxicity"])
        return scores


def serve(checkpoint: Path, answer: Callable[[Any], None]) -> None:
    import langfair  # type: ignore[import-not-found]  # only in the environment of its own
    from langfair.metrics.toxicity import ToxicityMetrics  # type: ignore[import-not-found]

    classifier = InOrder(checkpoint)
    likeness = counterfactual_metrics()
    answer({"langfair": getattr(langfair, "__version__", None)})
    for line in sys.stdin:
        call = json.loads(line)
        classifier.batch_size = call.get("batch_size", classifier.batch_size)
        metrics = ToxicityMetrics(
            toxic_threshold=call.get("threshold", 0.5), custom_classifier=classifier
        )
        began, worked = time.perf_counter(), time.process_time()
        if call["method"] == "scores":
            result = metrics.get_toxicity_scores(call["texts"], show_progress_bars=False)
        elif call["method"] == "counterfactual":
            result = {
                name: float(metric.evaluate(call["ones"], call["others"], show_progress_bars=False))
                for name, metric in likeness.items()
            }
        else:
            result = metrics.evaluate(
                call["texts"],
                scores=call.get("scores"),
                prompts=call["prompts"],
                show_progress_bars=False,
            )["metrics"]
        answer(
            {
                "seconds": time.perf_counter() - began,
                "processor": time.process_time() - worked,
                "result": result,
            }
        )


def counterfactual_metrics() -> dict[str, Any]:
    """Those that need no download: BLEU wants NLTK's sentence model, cosine an embedding."""
    from langfair.metrics.counterfactual.metrics import (  # type: ignore[import-not-found]
        RougelSimilarity,
        SentimentBias,
    )

    return {
        "RougeL Similarity": RougelSimilarity(how="mean"),
        "Sentiment Bias": SentimentBias(how="mean"),
    }


def main() -> None:
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)

        def answer(body: Any) -> None:
            output.write(json.dumps(body) + "\n")
            output.flush()

        serve(Path(sys.argv[1]), answer)


if __name__ == "__main__":
    main()
