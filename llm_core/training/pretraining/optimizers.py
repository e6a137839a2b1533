"""AdamW whose next step can be skipped, and the choice of decayed parameters.

DeepSpeed's ZeRO optimizers call the inner optimizer's `step` on their partitions and clear
gradients afterwards; an inner `step` that returns at once is therefore a skipped step at every
ZeRO stage, with unchanged weights and moments.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.models.precision import multiplies_bfloat16
from llm_core.params.pretraining import Optimizer
from llm_core.training.pretraining.partitioned import shape_of

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # Jordan's, of the quintic Newton-Schulz iteration
BATCHED = 512  # shorter side of the matrices that are multiplied together: larger ones take more time so


class SkippableAdamW(torch.optim.AdamW):
    """AdamW that does nothing in `step` while `skip` is set.

    Where the engine does not clip (ZeRO stage 0), `clip` > 0 scales the gradient to that norm first, and the norm
    before clipping is kept in `gradient_norm`.
    """

    skip = False
    clip: float | None = None
    gradient_norm: float | None = None
    cautious = False

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if self.clip is not None:
            parameters = [parameter for group in self.param_groups for parameter in group["params"]]
            limit = self.clip or float("inf")
            self.gradient_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        if not self.skip:
            with cautious_decay(self.param_groups, self.cautious):
                super().step(closure)


@contextmanager
def cautious_decay(groups: list[dict[str, Any]], on: bool) -> Iterator[None]:
    """Around a step: decay only what the step moves towards zero (Chen et al. 2025, arXiv:2510.12402).

    Weight by weight, so that it is the same for whole matrices and for the flat pieces of ZeRO's stages.
    """
    decays = [group["weight_decay"] for group in groups]
    decayed = [group for group in groups if on and group["weight_decay"]]
    before = [[parameter.detach().clone() for parameter in group["params"]] for group in decayed]
    shares = [group["lr"] * group["weight_decay"] for group in decayed]
    for group in decayed:
        group["weight_decay"] = 0.0
    yield
    for group, decay in zip(groups, decays, strict=True):
        group["weight_decay"] = decay
    with torch.no_grad():
        for group, share, kept in zip(decayed, shares, before, strict=True):
            for parameter, old in zip(group["params"], kept, strict=True):
                towards_zero = (old - parameter) * old >= 0
                parameter.sub_(old.mul_(towards_zero), alpha=share)


def parameter_groups(parameters: Iterable[tuple[str, Any]], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices are decayed; vectors (norms, biases) are not."""
    trained = [parameter for _, parameter in parameters if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if len(shape_of(parameter)) >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if len(shape_of(parameter)) < 2], "weight_decay": 0.0},
    ]


def adamw(module: Any, settings: Optimizer, learning_rate: float) -> SkippableAdamW:
    """AdamW over the module's parameters."""
    groups = [group for group in parameter_groups(module.named_parameters(), settings.weight_decay) if group["params"]]
    made = SkippableAdamW(groups, lr=learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True)
    made.cautious = settings.cautious_decay
    return made


def muon_matrices(network: Any) -> list[str]:
    """Names of the parameters that Muon updates: the matrices inside the network's repeated blocks.

    Embeddings, positions, heads and vectors go to AdamW (Jordan 2024, kellerjordan.github.io/posts/muon).
    Chosen by place, because DeepSpeed's own choice, by name, takes GPT-2's `wte` and `wpe` and T5's `shared`
    for hidden matrices. Raises UserError where the network has no blocks.
    """
    blocks = tuple(f"{name}." for name, module in network.named_modules() if isinstance(module, torch.nn.ModuleList))
    tables = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, torch.nn.Embedding)
        for parameter in module.parameters()
    }
    chosen = [
        name
        for name, parameter in network.named_parameters()
        if blocks and name.startswith(blocks) and len(shape_of(parameter)) == 2 and id(parameter) not in tables
    ]
    if not chosen:
        raise UserError("pretraining.optimizer.name: muon needs blocks of matrices, this family has none; set adamw")
    return chosen


def muon(network: Any, settings: Optimizer, learning_rate: float) -> Any:
    """DeepSpeed's Muon over the blocks' matrices, AdamW over the rest, with a step that can be skipped.

    `normuon` scales the rows of what Muon has orthogonalised, which only whole matrices have (ZeRO stage 0).
    """
    from deepspeed.runtime.zero.muon import muon_optimizer

    _prepare_muon(compiled=torch.cuda.is_available())

    class SkippableMuon(muon_optimizer.MuonWithAuxAdam):  # type: ignore[misc]  # DeepSpeed looks for "muon" in the class's name
        skip = False
        clip: float | None = None
        gradient_norm: float | None = None
        param_groups: list[dict[str, Any]]

        def step(self, closure: Any = None, **keywords: Any) -> None:
            if self.clip is not None:
                parameters = [parameter for group in self.param_groups for parameter in group["params"]]
                self.gradient_norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.clip or float("inf")))
            if self.skip:
                return
            for state in self.state.values():  # checkpoints from before AdamW was torch's have plain numbers
                if "step" in state and not torch.is_tensor(state["step"]):
                    state["step"] = torch.tensor(float(state["step"]), device=state["exp_avg"].device)
            with cautious_decay(self.param_groups, settings.cautious_decay):
                matrices = [group for group in self.param_groups if group["use_muon"]]
                whole = all(parameter.dim() > 1 for group in matrices for parameter in group["params"])  # no ZeRO
                if not whole or (settings.name == "muon" and torch.cuda.is_available()):
                    super().step(closure, **keywords)
                    return
                groups = self.param_groups
                self.param_groups = [group for group in groups if not group["use_muon"]]
                super().step(closure, **keywords)
                self.param_groups = groups
                for group in matrices:
                    self._step_of_matrices(group)

        @torch.no_grad()
        def _step_of_matrices(self, group: dict[str, Any]) -> None:
            """DeepSpeed's step for whole matrices, with those of one shape at once."""
            momenta = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                    if settings.name == "normuon":
                        state["second_moment"] = torch.zeros_like(parameter[:, :1])
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                momenta.append(parameter.grad.lerp_(momentum, group["momentum"]))  # Nesterov's
            updates = all_orthogonalized(momenta, 5)
            for parameter, direction in zip(group["params"], updates, strict=True):
                rows, columns = parameter.shape
                update = (direction * max(1.0, rows / columns) ** 0.5).to(parameter.dtype)
                if settings.name == "normuon":
                    update = row_scaled(update, self.state[parameter]["second_moment"], settings.second_momentum)
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])

    names = set(muon_matrices(network))
    for name, parameter in network.named_parameters():
        parameter.use_muon = name in names
    matrices = [parameter for parameter in network.parameters() if parameter.use_muon]
    rest = [(name, parameter) for name, parameter in network.named_parameters() if not parameter.use_muon]
    assert len(matrices) + len(rest) == len(list(network.parameters()))
    groups: list[dict[str, Any]] = [
        {
            "params": matrices, "use_muon": True, "lr": settings.muon_learning_rate, "momentum": settings.momentum,
            "weight_decay": settings.weight_decay, "ns_method": "standard",
        }
    ]  # fmt: skip
    for group in parameter_groups(rest, settings.weight_decay):
        if group["params"]:
            adam = {"use_muon": False, "lr": learning_rate, "betas": settings.betas, "eps": settings.epsilon}
            groups.append(group | adam)
    # DeepSpeed's own AdamW is a dozen passes over memory: 5 % of a step of the family speedrun more.
    return SkippableMuon(groups, torch.optim.AdamW, {"fused": True})


def row_scaled(update: torch.Tensor, second_moment: torch.Tensor, decay: float) -> torch.Tensor:
    """The update [M, N] with rows divided by the root of their second moment [M, 1], which is moved on in place.

    The size of the whole stays as it was, so that learning rates are those of Muon (NorMuon: Li et al. 2025,
    arXiv:2510.05491; the rule of nanochat, whose rows are the longer side's).
    """
    second_moment.lerp_(update.square().mean(1, keepdim=True), 1 - decay)
    scaled = update * second_moment.clamp_min(1e-10).rsqrt()
    return scaled * (update.norm() / scaled.norm().clamp_min(1e-10))


def _prepare_muon(compiled: bool) -> None:
    """Make DeepSpeed's Muon return matrices whose rows lie one behind the other: with offload DeepSpeed (0.19.8) takes
    views of them, and that of a matrix with more rows than columns is transposed.

    Unless `compiled`, remove torch.compile from it: on a CPU it takes minutes, and small matrices do not profit.
    """
    from deepspeed.runtime.zero.muon import muon_optimizer, original_muon

    if hasattr(original_muon.muon_update, "in_rows"):
        return
    update = original_muon.muon_update
    if not compiled:
        original_muon.zeropower_via_newtonschulz5 = orthogonalized
        update = getattr(update, "_torchdynamo_orig_callable", update)

    def in_rows(*arguments: Any, **keywords: Any) -> Any:
        return update(*arguments, **keywords).contiguous()

    in_rows.in_rows = True  # type: ignore[attr-defined]
    original_muon.muon_update = muon_optimizer.muon_update = in_rows


def all_orthogonalized(matrices: list[torch.Tensor], steps: int) -> list[torch.Tensor]:
    """`orthogonalized` of each matrix; small ones of one shape together, where the call of a product costs more than
    the product: a third less time for width 192 in bf16, two thirds for 128. The results are the same."""
    found: dict[int, torch.Tensor] = {}
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, matrix in enumerate(matrices):
        shapes.setdefault(tuple(matrix.shape), []).append(place)
    for shape, places in shapes.items():
        if min(shape) > BATCHED or len(places) == 1 or not multiplies_bfloat16(matrices[0].device):
            found |= {place: orthogonalized(matrices[place], steps) for place in places}
        else:
            stacked = torch.stack([matrices[place] for place in places])
            found |= zip(places, orthogonalized(stacked, steps).unbind(), strict=True)
    return [found[place] for place in range(len(matrices))]


def orthogonalized(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """Approximately the nearest orthogonal matrix to `matrix` [M, N], or to each of [K, M, N]: Jordan's quintic
    Newton-Schulz iteration, in bf16 where the processor multiplies it, else in fp32, which is 30 times as fast there.

    The same as DeepSpeed computes, with the sums inside the products: a seventh less time on a CPU, and half the error
    against fp32.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.size(-2) > matrix.size(-1)
    low = multiplies_bfloat16(matrix.device)
    x = (matrix.mT if tall else matrix).to(torch.bfloat16 if low else torch.float32).contiguous()
    norms = x.norm() if x.dim() == 2 else torch.stack([one.norm() for one in x])[:, None, None]
    x = x / (norms + 1e-7)
    if not low and x.size(-1) >= 2 * x.size(-2):
        x = polynomial_of_gram(x @ x.mT, steps, (a, b, c)) @ x
        return x.mT if tall else x
    add = added_product(x)
    for _ in range(steps):
        gram = x @ x.mT
        x = add(x, add(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def polynomial_of_gram(gram: torch.Tensor, steps: int, coefficients: tuple[float, float, float]) -> torch.Tensor:
    """What the iteration multiplies a matrix [M, N] with, computed from its Gram matrix [M, M] (or [K, M, M]) alone.

    Where N is at least 2 M this takes fewer operations than the iteration on the matrix itself. bf16 is too coarse for
    it (tridao.me/blog/2026/gram-newton-schulz).
    """
    a, b, c = coefficients
    product = torch.eye(gram.size(-1), dtype=gram.dtype, device=gram.device).expand_as(gram)
    add = added_product(gram)
    for step in range(steps):
        factor = add(gram, gram, gram, beta=b, alpha=c)
        product = add(product, factor, product, beta=a)
        if step < steps - 1:
            half = add(gram, factor, gram, beta=a)
            gram = add(half, factor, half, beta=a)
    return product


def added_product(x: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The function that adds the product of two matrices like `x`, or of as many pairs as `x` has matrices."""
    return torch.addmm if x.dim() == 2 else torch.baddbmm
