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


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_kernel_of_bf16_equals_cross_entropy_in_fp32(z_loss: float, threads: int) -> None:
    """Logits from -180 to 180, so that shares are from 1 to nothing; 100 is no multiple of what a register holds."""
    torch.manual_seed(0)
    hidden, weight = (torch.randn(9, 16) * 5).bfloat16(), (torch.randn(100, 16) * 5).bfloat16()
    targets = torch.tensor([3, -100, 0, 10, 99, -100, 2, 50, 51])
    ours, theirs = ([value.clone().requires_grad_() for value in (hidden, weight)] for _ in range(2))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loss, nll, losses = chunked_loss(ours[0], ours[1], None, targets, 4, z_loss=z_loss)
        found = token_losses(hidden, weight, None, targets, 4)
    finally:
        torch.set_num_threads(before)
    loss.backward()
    logits = (theirs[0] @ theirs[1].t()).float()
    assert logits.abs().max() > 150
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    (each.sum() + z_loss * logits.logsumexp(1).square()[targets >= 0].sum()).backward()
    torch.testing.assert_close(losses, each.detach(), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(found, losses, rtol=0, atol=0)
    assert float(nll) == pytest.approx(float(each.sum()), rel=1e-6)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad.float(), other.grad.float(), rtol=0.02, atol=0.05)


@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_hidden(value: float) -> None:
    hidden = torch.ones(2, 3, dtype=torch.bfloat16)
    hidden[1, 1] = value
    _, nll, losses = chunked_loss(hidden, torch.ones(4, 3, dtype=torch.bfloat16), None, torch.zeros(2).long(), 0)
    assert losses[0] == pytest.approx(math.log(4)) and not math.isfinite(losses[1]) and not math.isfinite(nll)


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


def test_a_target_outside_of_the_vocabulary_is_an_error() -> None:
    hidden, weight = torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(4, 3, dtype=torch.bfloat16)
    with pytest.raises(IndexError, match="target 4 is outside of the vocabulary of 4 tokens"):
        chunked_loss(hidden, weight, None, torch.tensor([1, 4]), 0)
