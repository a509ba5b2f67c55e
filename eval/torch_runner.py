"""A published checkpoint in plain torch and transformers: the runner that measures.

It verifies the folder before anything is loaded, loads safetensors only, and counts
tokens as lm-eval's ``hf`` model does, so that log-likelihoods agree. It does not know
what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.generation import generate
from eval.packing import Row, rolling_windows, row_of
from eval.runner import Answer, Continuation, Forgetful, RunnerError, Sampling
from eval.scoring import Scorer
from registry.checkpoint import CheckpointError, Manifest, verify
from registry.conversation import Message
from registry.evidence import ModelFacts
from registry.records import digest_of, short

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
# Tokens per pass: few enough that a layer's activations stay in a core's cache on a CPU.
SCORED_AT_ONCE = {"cpu": 1024, "gpu": 16384}
GENERATED_AT_ONCE = 24576
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchRunner(Forgetful):
    """One checkpoint on one device. Answers are kept, so that checks can share them.

    ``token_budget`` is how many tokens are scored at once; None is what suits the device.
    """

    def __init__(
        self,
        folder: Path,
        *,
        base: Path | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        token_budget: int | None = None,
    ) -> None:
        manifest = verify(folder)
        model = verified_base(manifest, base) if manifest.is_adapter else folder
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
            self.model = AutoModelForCausalLM.from_pretrained(
                model, local_files_only=True, use_safetensors=True, dtype=DTYPES[dtype]
            )
            if manifest.is_adapter:
                self.model = merged(self.model, folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{folder} cannot be loaded as a causal language model ({error}); "
                "publish the checkpoint again"
            ) from error
        self.model.to(device).eval()
        config = self.model.config
        self.context_length = int(config.max_position_embeddings)
        self.prefix_token = self._prefix_token()
        self.end_tokens = self._end_tokens()
        layers = set(getattr(config, "layer_types", None) or ["full_attention"])
        self._scorer = Scorer(
            self.model,
            max_length=self.context_length,
            token_budget=token_budget or SCORED_AT_ONCE["cpu" if device == "cpu" else "gpu"],
            share=layers == {"full_attention"},
        )
        self._answers: dict[str, list[Answer]] = {}
        template = self.tokenizer.chat_template
        self._facts = ModelFacts(
            weights_digest=manifest.weights_digest,
            backend="torch",
            dtype=dtype,
            context_length=self.context_length,
            chat_template_digest=digest_of((template or "").encode()),
        )

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    def _prefix_token(self) -> int:
        """What stands before a text: the beginning token, else the end of the text before."""
        tokenizer = self.tokenizer
        if tokenizer.bos_token_id is not None:
            return int(tokenizer.bos_token_id)
        return int(tokenizer.get_vocab().get(END_OF_TEXT, tokenizer.eos_token_id))

    def _end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer: the tokenizer's and the generation config's, and ours."""
        vocabulary = self.tokenizer.get_vocab()
        configured = self.model.generation_config.eos_token_id
        ends = set(configured if isinstance(configured, list) else [configured])
        ends |= {self.tokenizer.eos_token_id, vocabulary.get(END_OF_TEXT)}
        ends |= {vocabulary.get(END_OF_TURN)}
        return frozenset(int(token) for token in ends if token is not None)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with the tokenizer's own special tokens, each distinct text once."""
        distinct = list(dict.fromkeys(texts))
        prefix = self.tokenizer.decode(self.prefix_token)
        bare = [text for text in distinct if text.startswith(prefix)]
        plain = [text for text in distinct if not text.startswith(prefix)]
        ids: dict[str, list[int]] = {}
        for group, special in ((bare, False), (plain, True)):
            if group:
                encoded = self.tokenizer(group, add_special_tokens=special, verbose=False)
                ids.update(zip(group, encoded["input_ids"], strict=True))
        return [ids[text] for text in texts]

    def continuations(self, requests: Sequence[tuple[str, str]]) -> list[Continuation]:
        return self._scorer.score(self._rows(requests))

    def _rows(self, requests: Sequence[tuple[str, str]]) -> list[Row]:
        """Tokens of each request by lm-eval's convention: whole text encoded, then split.

        Trailing white space of the context goes to the continuation.
        Source: lm_eval.api.model.TemplateLM._encode_pair and .loglikelihood, 0.4.13.
        """
        moved = [
            (context.rstrip(), context[len(context.rstrip()) :] + continuation)
            for context, continuation in requests
        ]
        contexts = self._encode([context for context, _ in moved])
        wholes = self._encode([context + continuation for context, continuation in moved])
        rows = []
        for index, ((context, _), head, whole) in enumerate(
            zip(moved, contexts, wholes, strict=True)
        ):
            if context:
                pair = head, whole[len(head) :]
            elif whole[:1] == [self.prefix_token]:
                pair = whole[:1], whole[1:]
            else:
                pair = [self.prefix_token], whole
            try:
                rows.append(row_of(*pair, self.context_length))
            except ValueError as error:
                raise RunnerError(
                    f"request {index + 1} of {len(requests)} {error}; shorten or drop it"
                ) from error
        return rows

    def documents(self, texts: Sequence[str]) -> list[float]:
        rows: list[Row] = []
        owners: list[int] = []
        for owner, tokens in enumerate(self._encode(texts)):
            for window in rolling_windows(tokens, self.prefix_token, self.context_length):
                rows.append(row_of(*window, self.context_length))
                owners.append(owner)
        totals = [0.0] * len(texts)
        for owner, scored in zip(owners, self._scorer.score(rows), strict=True):
            totals[owner] += scored.logprob
        return totals

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(tokens) for tokens in self._encode(texts)]

    def render(self, dialogue: Sequence[Message], *, answer_next: bool) -> str:
        if not self.tokenizer.chat_template:
            raise RunnerError(
                "the checkpoint has no chat template, so it can answer no dialogue; "
                "fine-tune it, or measure it on plain texts"
            )
        rendered = self.tokenizer.apply_chat_template(
            [message.model_dump() for message in dialogue],
            tokenize=False,
            add_generation_prompt=answer_next,
        )
        return str(rendered)

    def answers(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[Answer]:
        prompts = [self.render(dialogue, answer_next=True) for dialogue in dialogues]
        return self._generate(prompts, sampling, special=False)

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> list[Answer]:
        return self._generate(prompts, sampling, special=True)

    def _generate(
        self, prompts: Sequence[str], sampling: Sampling, *, special: bool
    ) -> list[Answer]:
        key = digest_of([list(prompts), repr(sampling), special])
        if key not in self._answers:
            self._answers[key] = self._generate_afresh(prompts, sampling, special=special)
        return list(self._answers[key])

    def _generate_afresh(
        self, prompts: Sequence[str], sampling: Sampling, *, special: bool
    ) -> list[Answer]:
        if not prompts:
            return []
        if special:
            encoded = self._encode(prompts)
        else:  # the chat template has put in all that is needed
            encoded = self.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
        tokens = [list(ids) or [self.prefix_token] for ids in encoded]
        room = self.context_length - sampling.max_tokens
        fitting = [index for index, ids in enumerate(tokens) if len(ids) <= room]
        produced = generate(
            self.model,
            [tokens[index] for index in fitting],
            sampling,
            end_tokens=self.end_tokens,
            pad_token=self.prefix_token,
            token_budget=GENERATED_AT_ONCE,
            stopped=self._stop_rule(sampling.stop),
        )
        texts = dict(zip(fitting, self._decode(produced, sampling.stop), strict=True))
        return [
            Answer(texts[index])
            if index in texts
            else Answer(
                "",
                f"a prompt of {len(ids)} tokens leaves no room for {sampling.max_tokens} more "
                f"in the context of {self.context_length}",
            )
            for index, ids in enumerate(tokens)
        ]

    def _stop_rule(self, stop: tuple[str, ...]) -> Any:
        if not stop:
            return None
        return lambda ids: any(text in self._text(ids) for text in stop)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _decode(self, produced: Sequence[Sequence[int]], stop: tuple[str, ...]) -> list[str]:
        texts = [self._text(ids) for ids in produced]
        for mark in stop:
            texts = [text.split(mark, 1)[0] for text in texts]
        return texts


def verified_base(adapter: Manifest, base: Path | None) -> Path:
    """The folder of an adapter's base, hashed afresh. Raises CheckpointError."""
    parent = short(adapter.parent_digest or "unknown")
    if base is None:
        raise CheckpointError(
            f"{adapter.name} is an adapter, and its base {parent} is not known here; bring it "
            "with `hallmark import`, or name the checkpoint that both were made from"
        )
    found = verify(base).weights_digest
    if found != adapter.parent_digest:
        raise CheckpointError(
            f"{adapter.name} is an adapter upon {parent}, and {base} holds {short(found)}"
        )
    return base


def merged(model: Any, adapter: Path) -> Any:
    """The model with a LoRA adapter's products added to its weights: it costs nothing more then.

    Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4.1.
    """
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
