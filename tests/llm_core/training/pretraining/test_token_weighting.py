"""The loss of a step is the mean over tokens, not over sequences or micro-batches: by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from llm_core.models.language_model import LanguageModel


class Fixed(nn.Module):
    """A causal network whose hidden state is 1 and whose head says 1/4 and 3/4 for tokens 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="llm_core_lstm")
        self.head = nn.Linear(1, 2, bias=False)
        self.head.weight.data = torch.tensor([[0.0], [math.log(3)]])

    def hidden_states(self, input_ids: torch.Tensor) -> torch.Tensor:
        return torch.ones(*input_ids.shape, 1)

    def get_output_embeddings(self) -> nn.Linear:
        return self.head


def test_unequal_lengths_are_weighted_by_tokens() -> None:
    """One row of 4 targets (token 1, ln 4/3 each), one of 1 target (token 0, ln 4): mean over 5 tokens."""
    model = LanguageModel(Fixed(), chunk=3)
    targets = torch.tensor([[1, 1, 1, 1], [0, -100, -100, -100]])
    expected = (4 * math.log(4 / 3) + math.log(4)) / 5
    total = 0.0
    for row in targets:  # micro-batches of one row
        loss, _, losses = model(torch.zeros(1, 4).long(), row[None], None, None, scale=1 / 5)
        loss.backward()
        total += float(loss.detach())
        assert float(losses.sum()) / 5 == pytest.approx(float(loss.detach()))
    assert total == pytest.approx(expected)
    # d loss / d logit of token 0 = (5 * 1/4 - 1) / 5
    assert model.network.head.weight.grad.flatten().tolist() == pytest.approx([0.05, -0.05], rel=1e-5)
