"""Objectives as pure functions of log-probabilities in nats.

B = sequences, N = supervised positions. Means over a batch are left to the caller: each
function gives one loss per item, so that sums over several processes stay exact.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def negative_log_likelihood(log_probs_N: Tensor) -> Tensor:
    """Loss per supervised token: language modelling and fine-tuning differ in the mask only."""
    return -log_probs_N


def sequence_log_probs(log_probs_N: Tensor, rows_N: Tensor, num_rows: int) -> Tensor:
    """Sum per row; ``rows_N`` says which row a supervised position is of."""
    return torch.zeros(num_rows, device=log_probs_N.device).index_add(0, rows_N, log_probs_N)


def dpo(
    chosen_B: Tensor,
    rejected_B: Tensor,
    reference_chosen_B: Tensor,
    reference_rejected_B: Tensor,
    *,
    beta: float,
) -> Tensor:
    """Loss per pair: -log sigmoid(beta (log-ratio of chosen - log-ratio of rejected)).

    Source: Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7.
    """
    margin = (chosen_B - reference_chosen_B) - (rejected_B - reference_rejected_B)
    return -logsigmoid(beta * margin)


def kto_baseline(mismatched_B: Tensor, reference_mismatched_B: Tensor) -> Tensor:
    """The reference point z0 >= 0: mean log-ratio of completions of other prompts, no gradient.

    Source: Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306, section 4.1.
    """
    return (mismatched_B - reference_mismatched_B).mean().clamp(min=0).detach()


def kto(
    log_probs_B: Tensor,
    reference_B: Tensor,
    desirable_B: Tensor,
    baseline: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Loss per labelled completion: weight * (1 - sigmoid(+-beta (log-ratio - z0))).

    Plus for desirable completions, minus for the others. Source: as above, equations 7, 8.
    """
    gain = beta * (log_probs_B - reference_B - baseline)
    signed = torch.where(desirable_B, gain, -gain)
    weight = torch.where(
        desirable_B,
        torch.full_like(gain, desirable_weight),
        torch.full_like(gain, undesirable_weight),
    )
    return weight * (1 - torch.sigmoid(signed))
