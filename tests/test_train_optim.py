"""Muon, AdamW, and the choice between them."""

from __future__ import annotations

import pytest
import torch

from train.optim import ADAMW, MUON, MuonAdamW, OptimizerRecipe, choose, orthogonalise


def test_singular_values_come_near_one_whatever_the_scale() -> None:
    torch.manual_seed(0)
    for scale in (1e-3, 1.0, 1e3):
        values = torch.linalg.svdvals(orthogonalise(scale * torch.randn(24, 40)).float())
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_a_diagonal_keeps_its_signs() -> None:
    result = orthogonalise(torch.diag(torch.tensor([3.0, -2.0]))).float()
    assert torch.allclose(result.sign(), torch.diag(torch.tensor([1.0, -1.0])).sign())
    assert result[0, 1].abs() < 0.05


def test_matrices_in_a_stack_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    stack = torch.randn(3, 8, 16)
    together = orthogonalise(stack).float()
    for index in range(3):
        alone = orthogonalise(stack[index]).float()
        assert torch.allclose(together[index], alone, atol=0.02)


def _trained(lineage: str, ours: bool) -> torch.Tensor:
    torch.manual_seed(0)
    weight = torch.randn(6, 4).requires_grad_()
    inputs, wanted = torch.randn(10, 6), torch.randn(10, 4)
    recipe = OptimizerRecipe(adam_rate=0.05, weight_decay=0.1, clip_norm=1e9)
    mine = MuonAdamW({"w": weight}, recipe, lineage)
    theirs = torch.optim.AdamW([weight], lr=0.05, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(5):
        (inputs @ weight - wanted).square().mean().backward()
        if ours:
            mine.step(1.0)
        else:
            theirs.step()
            theirs.zero_grad()
    return weight.detach()


def test_our_adamw_is_torch_s() -> None:
    assert torch.allclose(_trained(ADAMW, ours=True), _trained(ADAMW, ours=False), atol=1e-6)


def test_muon_moves_a_matrix_by_the_rate_in_every_direction() -> None:
    weight = torch.zeros(4, 4, requires_grad=True)
    weight.grad = torch.diag(torch.tensor([9.0, 1.0, -1.0, 4.0]))
    MuonAdamW({"w": weight}, OptimizerRecipe(muon_rate=0.1), MUON).step(0.5)
    moved = weight.detach().diagonal()
    assert moved.sign().tolist() == [-1, -1, 1, -1]
    assert (moved.abs() - 0.05).abs().max() < 0.02


def test_muon_takes_hidden_matrices_and_adamw_embeddings_and_norms() -> None:
    names = {"model.embed_tokens.weight": (8, 4), "layers.0.q_proj.weight": (4, 4), "norm": (4,)}
    parameters = {name: torch.zeros(shape, requires_grad=True) for name, shape in names.items()}
    kinds = {name: set() for name in names}
    for key in MuonAdamW(parameters, OptimizerRecipe(), MUON).tensors():
        kind, name = key.split("/", 1)
        kinds[name].add(kind)
    assert kinds == {
        "model.embed_tokens.weight": {"first", "second"},
        "layers.0.q_proj.weight": {"momentum"},
        "norm": {"first", "second"},
    }


def test_gradients_over_the_limit_are_scaled_to_it_and_the_norm_before_is_given() -> None:
    weight = torch.zeros(2, requires_grad=True)
    weight.grad = torch.tensor([3.0, 4.0])
    optimizer = MuonAdamW({"w": weight}, OptimizerRecipe(clip_norm=1.0), ADAMW)
    assert optimizer.step(1.0) == pytest.approx(5.0)
    # First moment after one step: (1 - beta1) * clipped gradient.
    assert torch.allclose(optimizer.tensors()["first/w"], 0.1 * torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize(
    ("kind", "parent", "expected"),
    [
        ("auto", (), MUON),
        ("auto", (MUON,), MUON),
        ("auto", (ADAMW,), ADAMW),
        ("auto", (MUON, ADAMW), ADAMW),
        ("auto", ("unknown",), ADAMW),
        ("muon", (ADAMW,), MUON),
        ("adamw", (), ADAMW),
    ],
)
def test_the_parent_s_last_optimizer_decides_unless_one_is_asked_for(
    kind: str, parent: tuple[str, ...], expected: str
) -> None:
    assert choose(kind, parent) == expected  # type: ignore[arg-type]  # parametrised literals


def test_restored_state_continues_as_if_never_stopped() -> None:
    def build() -> tuple[torch.Tensor, MuonAdamW]:
        torch.manual_seed(0)
        weight = torch.randn(4, 6).requires_grad_()
        return weight, MuonAdamW({"w": weight}, OptimizerRecipe(), MUON)

    def steps(weight: torch.Tensor, optimizer: MuonAdamW, num: int) -> None:
        for _ in range(num):
            weight.square().sum().backward()
            optimizer.step(1.0)

    weight, optimizer = build()
    steps(weight, optimizer, 6)
    half, first = build()
    steps(half, first, 3)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    other, second = build()
    with torch.no_grad():
        other.copy_(half)
    second.restore(saved, first.num_steps)
    steps(other, second, 3)
    assert torch.equal(other, weight)
