"""Muon's orthogonalisation: singular values near one, singular vectors kept."""

import pytest
import torch

from llm_core.training.pretraining.optimizers import orthogonalized


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 40)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = left @ torch.diag(torch.linspace(0.2, 3.0, min(shape))) @ right
    found = left.T @ orthogonalized(matrix, 5).float() @ right.T  # in the basis of the singular vectors
    assert found.diag().min() > 0.5 and found.diag().max() < 1.3  # Jordan's coefficients aim at 0.7 to 1.2
    assert (found - torch.diag(found.diag())).abs().max() < 0.05
