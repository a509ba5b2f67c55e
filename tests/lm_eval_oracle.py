"""lm-eval's own task code over documents in memory, with its own Hugging Face model class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def lm_eval_samples(
    folder: Path, task_file: str, docs: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results and samples, in the order of ``docs``, of a task file below lm_eval/tasks.

    Nothing of the task is changed but where its documents come from. The model runs in double
    precision: lm-eval adds up log-probabilities in the model's own, and a float32 near -700
    has steps of 6e-5.
    """
    import datasets
    import lm_eval.tasks
    import torch
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks._yaml_loader import load_yaml
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64),
        tokenizer=tokenizer,
        prefix_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        batch_size=16,
        device="cpu",
    )
    config = load_yaml(Path(lm_eval.tasks.__file__).parent / task_file)
    for name in ("dataset_path", "dataset_name", "tag"):
        config.pop(name, None)
    table = {"test": datasets.Dataset.from_list([dict(doc) for doc in docs])}
    task = ConfigurableTask(config=config | {"custom_dataset": lambda **_: table})
    found = evaluate(lm=lm, task_dict={config["task"]: task}, bootstrap_iters=0, log_samples=True)
    assert found is not None
    samples = sorted(found["samples"][config["task"]], key=lambda sample: sample["doc_id"])
    return found["results"][config["task"]], samples
