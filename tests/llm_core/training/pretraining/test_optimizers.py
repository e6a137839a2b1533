"""Muon's orthogonalisation: singular values near one, singular vectors kept. What is done to its rows and the decay."""

import pytest
import torch

from llm_core.errors import UserError
from llm_core.params.pretraining import Optimizer, Pretraining
from llm_core.training.pretraining import optimizers
from llm_core.training.pretraining.engine import deepspeed_config
from llm_core.training.pretraining.optimizers import (
    adamw,
    all_orthogonalized,
    muon,
    orthogonalized,
    polynomial_of_gram,
    row_scaled,
)


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 40)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = left @ torch.diag(torch.linspace(0.2, 3.0, min(shape))) @ right
    found = left.T @ orthogonalized(matrix, 5).float() @ right.T  # in the basis of the singular vectors
    assert found.diag().min() > 0.5 and found.diag().max() < 1.3  # Jordan's coefficients aim at 0.7 to 1.2
    assert (found - torch.diag(found.diag())).abs().max() < 0.05


@pytest.mark.parametrize("low", [True, False])
def test_matrices_of_one_shape_are_orthogonalised_together_as_alone(low: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 and in fp32; one function serves both, where it is called with a stack of matrices, too."""
    monkeypatch.setattr(optimizers, "multiplies_bfloat16", lambda device: low)
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((24, 24), (40, 16), (24, 24), (16, 40), (40, 16), (600, 600))]
    for together, matrix in zip(all_orthogonalized(matrices, 5), matrices, strict=True):
        torch.testing.assert_close(together.float(), orthogonalized(matrix, 5).float(), rtol=0.01, atol=0.001)
    stack = torch.stack([matrices[1], 1000 * matrices[4]])
    for together, matrix in zip(orthogonalized(stack, 5), stack, strict=True):
        torch.testing.assert_close(together.float(), orthogonalized(matrix, 5).float(), rtol=0.01, atol=0.001)


def test_a_step_with_whole_matrices_is_deepspeeds() -> None:
    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.ModuleList([torch.nn.Linear(8, 12), torch.nn.Linear(12, 8), torch.nn.Linear(8, 12)])

    settings = Optimizer(name="muon", weight_decay=0.1, muon_learning_rate=0.05)
    ours, theirs = (muon(torch.nn.ModuleDict({"blocks": network()}), settings, 0.01) for _ in range(2))
    for step in range(3):
        for optimizer in (ours, theirs):
            torch.manual_seed(step)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.randn_like(parameter)
        ours.step()
        super(type(theirs), theirs).step()
    for one, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        for parameter, expected in zip(one["params"], other["params"], strict=True):
            torch.testing.assert_close(parameter, expected, rtol=0, atol=1e-3)
    assert len(ours.state) == 6


def test_the_gram_matrix_alone_gives_the_same_iteration() -> None:
    """In fp64, where rounding hides nothing: five steps of X <- (a + b XX' + c (XX')^2) X."""
    torch.manual_seed(0)
    start = torch.randn(8, 24, dtype=torch.float64)
    start /= start.norm()
    a, b, c = 3.4445, -4.7750, 2.0315
    wanted = start
    for _ in range(5):
        gram = wanted @ wanted.T
        wanted = a * wanted + (b * gram + c * gram @ gram) @ wanted
    found = polynomial_of_gram(start @ start.T, 5, (a, b, c)) @ start
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_rows_are_scaled_alike_and_the_whole_keeps_its_size() -> None:
    """First step of a decay of 0: each row is divided by its own root mean square, so all rows get the same norm."""
    update, second = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.zeros(2, 1)
    found = row_scaled(update, second, 0.0)
    assert second.flatten().tolist() == pytest.approx([12.5, 0.5])
    assert found.norm(dim=1).tolist() == pytest.approx([13**0.5, 13**0.5])  # 26 = 25 + 1, in equal parts
    assert found[0, 1] / found[0, 0] == pytest.approx(4 / 3)
    row_scaled(update, second, 0.5)
    torch.testing.assert_close(row_scaled(update, second, 1.0), row_scaled(update, torch.tensor([[12.5], [0.5]]), 1.0))


def test_cautious_decay_takes_the_weights_that_the_step_moves_towards_zero_alone() -> None:
    """Gradient 1: AdamW's first step is -0.1 for each weight; the decay is 0.1 x 0.5 of what it was."""
    found = []
    for on in (False, True):
        weight = torch.nn.Parameter(torch.tensor([[2.0, -2.0]]))
        settings = Optimizer(weight_decay=0.5, cautious_decay=on)
        optimizer = adamw(torch.nn.ParameterDict({"weight": weight}), settings, 0.1)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5]
        found.append(weight.flatten().tolist())
    assert found[0] == pytest.approx([2 - 0.1 - 0.1, -2 + 0.1 - 0.1])
    assert found[1] == pytest.approx([2 - 0.1 - 0.1, -2 - 0.1])


def test_normuon_needs_whole_matrices() -> None:
    settings = Pretraining(optimizer=Optimizer(name="normuon"), zero_stage=1)
    with pytest.raises(UserError, match="zero_stage: 0"):
        deepspeed_config(settings, "fp32", 1)
