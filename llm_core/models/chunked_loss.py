"""Head and loss in chunks: all logits never exist at once.

For N tokens and a vocabulary of V, plain cross-entropy holds several N x V matrices; here one
of chunk x V lives at a time. The gradients are computed along with the loss (as in Liger
kernel, arXiv:2410.10989), so nothing is recomputed: three matrix products, as without chunks.
Matrix products run in the autocast dtype, softmax and sums in fp32.
"""

from typing import Any

import torch
from torch import Tensor

from llm_core.models.precision import autocast_dtype, without_autocast

IGNORED = -100


def chunked_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int, z_loss: float = 0.0,
    cap: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Sum over tokens of cross-entropy (+ z-loss) in nats, to be differentiated; of cross-entropy alone; and the
    cross-entropy of each token, fp32 [N], 0 where nothing is predicted.

    `hidden` [N, D], `weight` [V, D], `bias` [V] or None, `targets` int64 [N] with -100 where nothing is
    predicted. `chunk` tokens at a time, 0 for all. `cap`: the maximum size of a logit, which a hyperbolic tangent
    approaches (Gemma 2, arXiv:2408.00118, section 2). Second derivatives are not supported.
    """
    dtype = autocast_dtype(hidden.device)
    return _ChunkedLoss.apply(hidden, weight, bias, targets, chunk or len(targets) or 1, z_loss, dtype, cap)  # type: ignore[no-any-return, no-untyped-call]


@torch.no_grad()
def token_losses(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int, cap: float | None = None
) -> Tensor:
    """Cross-entropy of each token in nats, fp32 [N]; 0 where the target is -100. Shapes as in `chunked_loss`."""
    losses = []
    for h, t in zip(hidden.split(chunk or len(targets) or 1), targets.split(chunk or len(targets) or 1), strict=True):
        logits = torch.nn.functional.linear(h, weight, bias).float()
        losses.append(torch.nn.functional.cross_entropy(capped(logits, cap), t, reduction="none", ignore_index=IGNORED))
    return torch.cat(losses)


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Logits whose size approaches at most `cap`; as they are without one."""
    return cap * torch.tanh(logits / cap) if cap else logits


def loss_of_logits(logits: Tensor, targets: Tensor, z_loss: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """As `chunked_loss`, of logits [N, V] that a network has computed by itself."""
    logits = logits.float()
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)
    nll = losses.sum()
    if not z_loss:
        return nll, nll, losses.detach()
    normaliser = torch.logsumexp(logits, 1)[targets != IGNORED]
    return nll + z_loss * normaliser.square().sum(), nll, losses.detach()


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        chunk: int,
        z_loss: float,
        dtype: torch.dtype | None,
        cap: float | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = dtype or hidden.dtype
        with without_autocast(hidden.device):
            return _forward(ctx, hidden, weight, bias, targets, chunk, z_loss, dtype, cap)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        upstream = grads[0]
        return (
            grad_hidden * upstream,
            grad_weight * upstream.to(grad_weight.dtype),
            None if grad_bias is None else grad_bias * upstream.to(grad_bias.dtype),
            *(None,) * 5,
        )


def _forward(
    ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int, z_loss: float,
    dtype: torch.dtype, cap: float | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    needs_grad = any(ctx.needs_input_grad)
    low = weight.to(dtype)
    loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
    nll = torch.zeros((), dtype=torch.float32, device=hidden.device)
    losses = torch.zeros(len(targets), dtype=torch.float32, device=hidden.device)
    grad_hidden = torch.empty_like(hidden) if needs_grad else None
    grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
    grad_bias = torch.zeros_like(bias, dtype=torch.float32) if needs_grad and bias is not None else None
    for begin in range(0, len(targets), chunk):
        h, target = hidden[begin : begin + chunk].to(dtype), targets[begin : begin + chunk]
        logits = torch.mm(h, low.t()).float()  # [chunk, V]
        if bias is not None:
            logits += bias.float()
        if cap:
            logits.div_(cap).tanh_().mul_(cap)  # the derivative is 1 - (logits / cap) squared
        used = (target != IGNORED).float()
        index = target.clamp(min=0).unsqueeze(1)
        wanted = logits.gather(1, index).squeeze(1)
        highest = logits.amax(1)
        probability = torch.softmax(logits, 1)  # one pass, where exp, sum and scaling apart took 2 ms more
        normaliser = highest - probability.amax(1).log()  # log of the sum of exponentials
        token_nll = (normaliser - wanted) * used
        losses[begin : begin + chunk] = token_nll
        nll += token_nll.sum()
        loss += (token_nll + z_loss * normaliser.square() * used).sum()
        if grad_hidden is None or grad_weight is None:
            continue
        if z_loss:
            probability.mul_((1 + 2 * z_loss * normaliser).unsqueeze(1))
        probability.scatter_add_(1, index, torch.full_like(used, -1.0).unsqueeze(1))
        if cap:
            probability.addcmul_(probability, logits.square_(), value=-1 / cap**2)
        grad_logits = probability.to(dtype)
        grad_hidden[begin : begin + chunk] = torch.mm(grad_logits, low) * used.unsqueeze(1)
        grad_weight += torch.mm(grad_logits.t(), h * used.unsqueeze(1).to(dtype))
        if grad_bias is not None:
            grad_bias += torch.mv(probability.t(), used)
    if needs_grad and grad_weight is not None:
        ctx.save_for_backward(
            grad_hidden, grad_weight.to(weight.dtype), None if grad_bias is None else grad_bias.to(weight.dtype)
        )
    ctx.mark_non_differentiable(nll, losses)
    return loss, nll, losses
