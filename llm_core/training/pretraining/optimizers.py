"""AdamW whose next step can be skipped, and the choice of decayed parameters.

DeepSpeed's ZeRO optimizers call the inner optimizer's `step` on their partitions and clear
gradients afterwards; an inner `step` that returns at once is therefore a skipped step at every
ZeRO stage, with unchanged weights and moments.
"""

from collections.abc import Iterable
from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.params.pretraining import Optimizer
from llm_core.training.pretraining.partitioned import shape_of


class SkippableAdamW(torch.optim.AdamW):
    """AdamW that does nothing in `step` while `skip` is set.

    Where the engine does not clip (ZeRO stage 0), `clip` > 0 scales the gradient to that norm first, and the norm
    before clipping is kept in `gradient_norm`.
    """

    skip = False
    clip: float | None = None
    gradient_norm: float | None = None

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if self.clip is not None:
            parameters = [parameter for group in self.param_groups for parameter in group["params"]]
            limit = self.clip or float("inf")
            self.gradient_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        if not self.skip:
            super().step(closure)


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
    return SkippableAdamW(groups, lr=learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True)


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
    """DeepSpeed's Muon over the blocks' matrices, AdamW over the rest, with a step that can be skipped."""
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam

    if not torch.cuda.is_available():
        _uncompiled_muon()

    class SkippableMuon(MuonWithAuxAdam):  # type: ignore[misc]  # DeepSpeed looks for "muon" in the class's name
        skip = False
        clip: float | None = None
        gradient_norm: float | None = None

        def step(self, closure: Any = None, **keywords: Any) -> None:
            if self.clip is not None:
                parameters = [parameter for group in self.param_groups for parameter in group["params"]]
                self.gradient_norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.clip or float("inf")))
            if not self.skip:
                super().step(closure, **keywords)

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
    return SkippableMuon(groups)


def _uncompiled_muon() -> None:
    """Remove torch.compile from DeepSpeed's Muon: on a CPU it takes minutes, and small matrices do not profit."""
    from deepspeed.runtime.zero.muon import muon_optimizer, original_muon

    original_muon.zeropower_via_newtonschulz5 = orthogonalized
    update = getattr(original_muon.muon_update, "_torchdynamo_orig_callable", original_muon.muon_update)
    original_muon.muon_update = muon_optimizer.muon_update = update


def orthogonalized(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """Approximately the nearest orthogonal matrix to `matrix` [M, N]: Jordan's quintic Newton-Schulz iteration, in
    bf16.

    The same as DeepSpeed computes, with the sums inside the products: a seventh less time on a CPU, and half the error
    against fp32.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.size(0) > matrix.size(1)
    x = (matrix.mT if tall else matrix).bfloat16().contiguous()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
