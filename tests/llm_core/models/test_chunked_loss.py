"""Head and loss in chunks against torch's own cross-entropy, and by hand."""

import math

import pytest
import torch

from llm_core.models.chunked_loss import chunked_loss, token_losses


@pytest.mark.parametrize("chunk", [0, 1, 3, 7, 100])
@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_loss_and_gradients_equal_plain_cross_entropy(chunk: int, z_loss: float, cap: float | None) -> None:
    torch.manual_seed(0)
    hidden, weight, bias = (torch.randn(*shape, dtype=torch.float64).float() for shape in ((7, 5), (11, 5), (11,)))
    targets = torch.tensor([3, -100, 0, 10, 7, -100, 2])
    leaves = [value.clone().requires_grad_() for value in (hidden, weight, bias)]
    loss, nll, losses = chunked_loss(*leaves, targets, chunk, z_loss=z_loss, cap=cap)
    (loss * 0.5).backward()
    other = [value.clone().requires_grad_() for value in (hidden, weight, bias)]
    logits = other[0] @ other[1].t() + other[2]
    if cap:
        logits = cap * torch.tanh(logits / cap)
    plain = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    squares = logits.logsumexp(1).square()[targets >= 0].sum()
    ((plain + z_loss * squares) * 0.5).backward()
    assert float(nll) == pytest.approx(float(plain), rel=1e-5)
    for ours, theirs in zip(leaves, other, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    for found in (losses, token_losses(*leaves, targets, chunk, cap=cap)):
        torch.testing.assert_close(found, each, rtol=1e-5, atol=1e-5)


def test_by_hand() -> None:
    """Logits 0 and ln 3: probabilities 1/4 and 3/4."""
    hidden, weight = torch.ones(1, 1, requires_grad=True), torch.tensor([[0.0], [math.log(3)]], requires_grad=True)
    loss, _, _ = chunked_loss(hidden, weight, None, torch.tensor([0]), 0)
    loss.backward()
    assert float(loss) == pytest.approx(math.log(4))
    assert weight.grad is not None and weight.grad.flatten().tolist() == pytest.approx([-0.75, 0.75])


def test_no_targets_no_loss() -> None:
    hidden = torch.ones(2, 3, requires_grad=True)
    loss, nll, losses = chunked_loss(hidden, torch.ones(4, 3), None, torch.full((2,), -100), 1)
    assert float(loss) == float(nll) == 0 and losses.tolist() == [0, 0]
