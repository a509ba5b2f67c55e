"""Objectives against hand-worked values and TRL on the same log-probabilities."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train.objectives import dpo, kto, kto_baseline, sequence_log_probs


def test_dpo_of_an_unmoved_policy_is_log_two() -> None:
    same = torch.tensor([-3.0, -5.0])
    assert dpo(same, same - 1, same, same - 1, beta=0.1).tolist() == pytest.approx(
        [math.log(2)] * 2
    )


def test_dpo_by_hand() -> None:
    # margin (-1 - -2) - (-4 - -3) = 2; -log sigmoid(0.5 * 2) = log(1 + e^-1)
    one = torch.tensor
    loss = dpo(one([-1.0]), one([-4.0]), one([-2.0]), one([-3.0]), beta=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_kto_by_hand() -> None:
    # log-ratios 2 and 1, z0 = 1: desirable 1 - s(0.5), undesirable 3 * (1 - s(0)) = 1.5
    loss = kto(
        torch.tensor([-1.0, -1.0]), torch.tensor([-3.0, -2.0]), torch.tensor([True, False]),
        torch.tensor(1.0), beta=0.5, undesirable_weight=3.0,
    )  # fmt: skip
    assert loss.tolist() == pytest.approx([1 - 1 / (1 + math.exp(-0.5)), 1.5])


def test_the_reference_point_is_never_negative_and_has_no_gradient() -> None:
    policy = torch.tensor([-2.0, -3.0], requires_grad=True)
    assert kto_baseline(policy, torch.tensor([-1.0, -1.0])).item() == 0
    above = kto_baseline(policy, torch.tensor([-4.0, -6.0]))
    assert above.item() == 2.5
    assert not above.requires_grad


def test_sequence_log_probs_add_up_per_row_and_an_empty_row_is_zero() -> None:
    sums = sequence_log_probs(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([0, 0, 2]), 3)
    assert sums.tolist() == [-3.0, 0.0, -4.0]


class _Outputs:
    """A model whose per-token log-probabilities are what the test says."""

    def __init__(self, log_probs: torch.Tensor) -> None:
        self.training = True
        self._log_probs = log_probs

    def __call__(self, **_: Any) -> SimpleNamespace:
        zeros = torch.zeros_like(self._log_probs)
        return SimpleNamespace(
            log_probs=self._log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )


def _gather(value: Any) -> Any:
    return value


def _trl(trainer: type, **fields: Any) -> Any:
    """A TRL trainer without its set-up: only what its loss reads."""
    from collections import defaultdict

    made = trainer.__new__(trainer)
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=_gather, gather_for_metrics=_gather
    )
    metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    for name, value in {
        "accelerator": accelerator, "_metrics": metrics, "aux_loss_enabled": False,
        "_total_train_tokens": 0, "_tp_size": 1, **fields,
    }.items():  # fmt: skip
        setattr(made, name, value)
    return made


def test_dpo_equals_trl_on_the_same_log_probabilities() -> None:
    from trl import DPOTrainer

    torch.manual_seed(0)
    tokens = -torch.rand(6, 9) * 3  # three chosen, then three rejected
    reference = -torch.rand(6) * 20
    trainer = _trl(
        DPOTrainer, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl",
        loss_types=["sigmoid"], loss_weights=[1.0], beta=0.3, label_smoothing=0.0,
        use_weighting=False, model=SimpleNamespace(training=True), args=SimpleNamespace(),
        _tokenizer=None,
    )  # fmt: skip
    inputs = {
        "input_ids": torch.ones(6, 10, dtype=torch.long),
        "attention_mask": torch.ones(6, 10, dtype=torch.long),
        "completion_mask": torch.ones(6, 10, dtype=torch.long),
        "ref_chosen_logps": reference[:3],
        "ref_rejected_logps": reference[3:],
    }
    theirs = trainer._compute_loss(_Outputs(tokens), inputs, False)
    chosen, rejected = tokens.sum(-1).chunk(2)
    ours = dpo(chosen, rejected, reference[:3], reference[3:], beta=0.3).mean()
    assert ours.item() == pytest.approx(float(theirs), abs=1e-5)


def test_kto_equals_trl_on_the_same_log_probabilities() -> None:
    from trl import KTOTrainer

    torch.manual_seed(0)
    tokens = -torch.rand(5, 9) * 3
    reference = -torch.rand(5) * 20
    mismatched, reference_mismatched = -torch.rand(5) * 20, -torch.rand(5) * 20 - 5
    labels = [True, False, True, True, False]
    trainer = _trl(
        KTOTrainer, calculate_KL=True, precompute_ref_logps=True, loss_type="kto", beta=0.2,
        desirable_weight=1.3, undesirable_weight=0.7, model=SimpleNamespace(training=True),
        args=SimpleNamespace(), _compute_kl_logps=lambda *_: mismatched,
    )  # fmt: skip
    batch = {
        "input_ids": torch.ones(5, 10, dtype=torch.long),
        "attention_mask": torch.ones(5, 10, dtype=torch.long),
        "completion_mask": torch.ones(5, 10, dtype=torch.long),
        "label": torch.tensor(labels),
        "ref_logps": reference,
        "ref_KL_logps": reference_mismatched,
    }
    theirs = trainer._compute_loss(_Outputs(tokens), batch, False)
    ours = kto(
        tokens.sum(-1), reference, torch.tensor(labels),
        kto_baseline(mismatched, reference_mismatched),
        beta=0.2, desirable_weight=1.3, undesirable_weight=0.7,
    ).mean()  # fmt: skip
    assert ours.item() == pytest.approx(float(theirs), abs=1e-5)
