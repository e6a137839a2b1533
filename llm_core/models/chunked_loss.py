"""Head and loss in chunks: all logits never exist at once.

For N tokens and a vocabulary of V, plain cross-entropy holds several N x V matrices; here one
of chunk x V lives at a time. The gradients are computed along with the loss (as in Liger
kernel, arXiv:2410.10989), so nothing is recomputed: three matrix products, as without chunks.
Matrix products run in the autocast dtype, softmax and sums in fp32. On a CPU in bf16 a compiled kernel goes over the
logits once, row by row, which takes a quarter to a half of the time that torch's six passes take.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
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
        logits = torch.nn.functional.linear(h, weight, bias)
        if not cap and _in_rows(logits):
            losses.append(_cross_entropy_rows(logits, t, 0.0)[0])
            continue
        logits = capped(logits.float(), cap)
        losses.append(torch.nn.functional.cross_entropy(logits, t, reduction="none", ignore_index=IGNORED))
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
        logits = torch.mm(h, low.t())  # [chunk, V]
        if bias is None and not cap and _in_rows(logits):
            token_nll, normaliser = _cross_entropy_rows(logits, target, z_loss)
            grad_logits = logits
        else:
            token_nll, normaliser, grad_logits = _by_steps(logits.float(), bias, target, z_loss, cap)
        losses[begin : begin + chunk] = token_nll
        nll += token_nll.sum()
        loss += (token_nll + z_loss * normaliser.square()).sum()
        if grad_hidden is None or grad_weight is None:
            continue
        if grad_bias is not None:
            grad_bias += grad_logits.sum(0)
        grad_logits = grad_logits.to(dtype)
        grad_hidden[begin : begin + chunk] = torch.mm(grad_logits, low)
        grad_weight += torch.mm(grad_logits.t(), h)
    if needs_grad and grad_weight is not None:
        ctx.save_for_backward(
            grad_hidden, grad_weight.to(weight.dtype), None if grad_bias is None else grad_bias.to(weight.dtype)
        )
    ctx.mark_non_differentiable(nll, losses)
    return loss, nll, losses


def _in_rows(logits: Tensor) -> bool:
    """Whether the kernel is for these: real ones (not of a FakeTensorMode) on a CPU, in bf16."""
    return type(logits) is Tensor and logits.device.type == "cpu" and logits.dtype == torch.bfloat16


def _cross_entropy_rows(logits: Tensor, target: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """Of logits (bf16 [n, V]) of n tokens: cross-entropy [n] and logarithm of the sum of exponentials [n], both 0 where
    nothing is predicted. `logits` are then the gradient of the summed loss.

    Threads share the rows, and their number changes nothing.
    """
    from llm_core.kernels.cross_entropy import softmax_rows

    if len(target) and int(target.max()) >= logits.shape[1]:
        raise IndexError(f"target {int(target.max())} is outside of the vocabulary of {logits.shape[1]} tokens")
    losses, normalisers = (torch.empty(len(target), dtype=torch.float32, device="cpu") for _ in range(2))
    arrays = logits.view(torch.uint16).numpy(), target.numpy(), losses.numpy(), normalisers.numpy()

    def run(rows: slice) -> None:
        some, targets, *out = (array[rows] for array in arrays)
        softmax_rows(some, targets, z_loss, *out)

    threads = torch.get_num_threads()
    if threads == 1:
        run(slice(None))
    else:
        share = max(1, -(-len(target) // threads))
        list(_pool(threads).map(run, (slice(start, start + share) for start in range(0, len(target), share))))
    return losses, normalisers


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def _by_steps(
    logits: Tensor, bias: Tensor | None, target: Tensor, z_loss: float, cap: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of logits (fp32 [n, V], overwritten) of n tokens: cross-entropy [n], logarithm of the sum of exponentials [n] and
    the gradient of the summed loss [n, V]; all 0 where nothing is predicted."""
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
    if z_loss:
        probability.mul_((1 + 2 * z_loss * normaliser).unsqueeze(1))
    probability.scatter_add_(1, index, torch.full_like(used, -1.0).unsqueeze(1))
    if cap:
        probability.addcmul_(probability, logits.square_(), value=-1 / cap**2)
    return (normaliser - wanted) * used, normaliser * used, probability.mul_(used.unsqueeze(1))
