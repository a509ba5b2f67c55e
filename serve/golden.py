"""Proves an engine: does it say of the golden texts what the gated weights said?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from registry.golden import TOLERANCES, Golden, GoldenText
from registry.records import UserError, short
from serve.engine_client import UpstreamFailure
from serve.upstream import Upstream

BACKEND = "vllm"
WIDEST = max(TOLERANCES.values())
SYNONYMS = {"half": "float16", "float": "float32"}


class GoldenError(UserError):
    """The engine does not say what the weights said when they were gated, or nobody knows."""


def served_dtype(option: str, folder: Path, *, cpu: bool) -> str:
    """What vLLM computes in: what it was told, float32 on a CPU build, else the checkpoint's."""
    if option != "auto":
        return SYNONYMS.get(option, option)
    if cpu:
        return "float32"
    config = json.loads((folder / "config.json").read_bytes())
    named = str(config.get("dtype") or config.get("torch_dtype"))
    return named if named in ("float16", "bfloat16") else "bfloat16"


def reference(goldens: Sequence[Golden], dtype: str) -> tuple[Golden, float] | None:
    """What to hold an engine against, and how closely in mean nats per token.

    Best what the same backend said in the same dtype, then the same dtype; of another dtype
    the coarser one's tolerance holds.
    """
    if not goldens:
        return None
    best = min(goldens, key=lambda one: (one.dtype != dtype, one.backend != BACKEND))
    if best.dtype == dtype:
        return best, best.tolerance
    return best, max(best.tolerance, TOLERANCES.get(dtype, WIDEST))


async def prove(upstream: Upstream, model: str, goldens: Sequence[Golden], dtype: str) -> None:
    """Raises GoldenError unless the engine agrees with the stored log-probabilities."""
    found = reference(goldens, dtype)
    checkpoint = short(upstream.checkpoint)
    if found is None:
        raise GoldenError(
            f"nobody knows what checkpoint {checkpoint} should say: the ledger has no golden "
            f"log-probabilities of it; run `hallmark gate {checkpoint}`"
        )
    golden, tolerance = found
    said = await ask(upstream, model, golden.texts)
    if wrong := golden.differences(said, tolerance):
        raise GoldenError(
            f"the engine of checkpoint {checkpoint} does not say what its weights said to "
            f"{golden.backend} in {golden.dtype} (within {tolerance:g} nats per token): "
            f"{'; '.join(wrong)}; it was not let in. Look at its log and its dtype"
        )


async def ask(
    upstream: Upstream, model: str, texts: Sequence[GoldenText]
) -> tuple[GoldenText, ...]:
    """What the engine says of each continuation now. Raises GoldenError where it says nothing."""
    return tuple([await _ask_one(upstream, model, text) for text in texts])


async def _ask_one(upstream: Upstream, model: str, text: GoldenText) -> GoldenText:
    prompt = text.context + text.continuation
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0,
            "echo": True, "logprobs": 1}  # fmt: skip
    headers = {"Content-Type": "application/json", "X-Request-Id": "hallmark-golden"}
    try:
        response = await upstream.post("/v1/completions", json.dumps(body).encode(), headers)
        async with response:
            data = await response.read()
        if response.status != 200:
            raise GoldenError(f"the engine answered a golden text with status {response.status}")
        logprob, num_tokens = tail_logprob(json.loads(data), len(text.continuation))
    except (UpstreamFailure, OSError, TimeoutError) as error:
        raise GoldenError(f"the engine gave no log-probabilities: {error}; see its log") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise GoldenError("the engine's log-probabilities cannot be read; see its log") from error
    return text.model_copy(update={"logprob": logprob, "num_tokens": num_tokens})


def tail_logprob(answer: dict[str, Any], num_characters: int) -> tuple[float, int]:
    """Log-probability in nats and tokens of the last characters of an echoed prompt.

    The last token is the generated one. Offsets are counted back from it, because some
    tokenizers begin the prompt with a token that the text does not show.
    """
    logprobs = answer["choices"][0]["logprobs"]
    offsets, values = logprobs["text_offset"], logprobs["token_logprobs"]
    end = offsets[-1]
    kept = [
        value
        for offset, value in zip(offsets, values, strict=True)
        if end - num_characters <= offset < end
    ]
    return float(sum(kept)), len(kept)
