"""The model: presets, arithmetic, and that the quick path computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from train.model import Scorer, Shape, create, flops_per_token, num_parameters, quicken
from train.recipe import load_recipe

SHAPE = Shape(
    width=64, layers=2, heads=4, kv_heads=2, head_dim=16, mlp_width=96, vocab_size=320, context=128
)


@pytest.fixture
def network() -> Any:
    model = create(SHAPE, eos=2, pad=0, seed=0)
    with torch.no_grad():  # the zero-initialised matrices would hide what blocks compute
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.normal_(std=0.1)
            elif "embed_tokens" in name:
                parameter.normal_(std=0.02)
            elif parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize(
    ("recipe", "millions"),
    [
        ("base-cpu", 2.4), ("real-base-cpu", 6.1), ("gpu-17m", 17), ("gpu-60m", 65),
        ("gpu-130m", 132), ("gpu-342m", 342),
    ],
)  # fmt: skip
def test_a_preset_has_the_parameters_that_its_name_says(recipe: str, millions: float) -> None:
    shape = load_recipe(recipe).shape
    assert shape is not None
    assert num_parameters(shape) / 1e6 == pytest.approx(millions, rel=0.03)


def test_parameters_of_a_small_shape_are_those_counted_by_hand() -> None:
    # Per layer: q and o 64*64 each, k and v 64*32 each, MLP 3*64*96, norms 2*64 + 2*16.
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64 + 2 * 16
    assert num_parameters(SHAPE) == 320 * 64 + 2 * layer + 64


def test_flops_are_six_per_matrix_weight_and_the_attention_term(network: Any) -> None:
    matrices = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
    head = 320 * 64
    assert flops_per_token(network, 128) == 6 * (matrices + head) + 12 * 2 * 64 * 128


def test_a_fresh_block_is_the_identity_but_for_the_heads_that_look_back() -> None:
    fresh = create(SHAPE, eos=2, pad=0, seed=0)
    ids = torch.randint(0, 320, (1, 9))
    with torch.no_grad():
        fresh.model.layers[0].self_attn.o_proj.weight.zero_()
    hidden = fresh.model(input_ids=ids).last_hidden_state
    assert torch.equal(hidden, fresh.model.norm(fresh.model.embed_tokens(ids)))


@pytest.mark.parametrize("head_dim", [16, 32, 64])
def test_half_of_a_fresh_first_layers_heads_look_a_fixed_number_of_tokens_back(
    head_dim: int,
) -> None:
    fresh = create(SHAPE.model_copy(update={"head_dim": head_dim}), eos=2, pad=0, seed=0)
    fresh.set_attn_implementation("eager")
    ids = torch.randint(0, 320, (1, 40))
    weights = fresh.model(input_ids=ids, output_attentions=True).attentions[0][0]
    for head in range(2):
        looked_at = weights[head].argmax(dim=-1)[5:]
        assert torch.equal(looked_at, torch.arange(5, 40) - head - 1)
        assert weights[head].max(dim=-1).values[5:].min() > 0.85


def _grads(scorer: Scorer, autocast: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    ids, targets = torch.randint(0, 320, (3, 40)), torch.randint(0, 320, (3, 40))
    supervised = torch.rand(3, 40) < 0.5
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        log_probs = scorer(ids, targets, supervised)
    scorer.zero_grad()
    (-log_probs.mean()).backward()
    return log_probs.detach(), {n: p.grad.clone() for n, p in scorer.named_parameters()}


def test_the_quick_path_gives_the_same_values_and_gradients(network: Any) -> None:
    scorer = Scorer(network)
    slow, slow_grads = _grads(scorer, autocast=False)
    with quicken(network):
        quick, quick_grads = _grads(scorer, autocast=False)
    assert torch.allclose(quick, slow, atol=1e-5)
    for name, grad in slow_grads.items():
        assert torch.allclose(quick_grads[name], grad, atol=1e-5), name


def test_the_quick_path_is_as_near_to_fp32_under_bf16_as_the_plain_one(network: Any) -> None:
    scorer = Scorer(network)
    exact, _ = _grads(scorer, autocast=False)
    plain, _ = _grads(scorer, autocast=True)
    with quicken(network):
        quick, _ = _grads(scorer, autocast=True)
    assert (quick - exact).abs().mean() < 2 * (plain - exact).abs().mean() + 1e-3


def test_quickening_is_undone_at_the_end(network: Any) -> None:
    before = network.config._attn_implementation
    with quicken(network):
        assert network.config._attn_implementation != before
    assert network.config._attn_implementation == before
    assert all("forward" not in vars(module) for module in network.modules())


def test_log_probs_are_of_supervised_positions_only_and_equal_a_full_softmax(network: Any) -> None:
    ids, targets = torch.randint(0, 320, (2, 7)), torch.randint(0, 320, (2, 7))
    supervised = torch.zeros(2, 7, dtype=torch.bool)
    supervised[0, 3] = supervised[1, 6] = True
    found = Scorer(network)(ids, targets, supervised)
    full = network(ids).logits.log_softmax(-1)
    expected = torch.stack([full[0, 3, targets[0, 3]], full[1, 6, targets[1, 6]]])
    assert torch.allclose(found, expected, atol=1e-5)


def test_chunks_do_not_change_the_result(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(network)
    whole, whole_grads = _grads(scorer, autocast=False)
    monkeypatch.setattr("train.model.CHUNK_POSITIONS", 7)
    parts, parts_grads = _grads(scorer, autocast=False)
    assert torch.allclose(whole, parts, atol=1e-6)
    for name, grad in whole_grads.items():
        assert torch.allclose(parts_grads[name], grad, atol=1e-6), name
