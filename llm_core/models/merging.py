"""Merges models of one architecture into one, tensor by tensor: averages of a run's checkpoints, or several models.

The mean of checkpoints late in a run is often better than the last of them, above all where the learning rate has not
come down yet (Izmailov et al. 2018, arXiv:1803.05407; Sanyal et al. 2023, arXiv:2306.03241), and the mean of models
that were finetuned from one parent joins what they learned (Wortsman et al. 2022, arXiv:2203.05482). Models that do not
descend from one another have no common directions, and their mean knows nothing. TIES (Yadav et al. 2023,
arXiv:2306.01708) adds to a common base what the models agree on; its arithmetic is PEFT's.

Memory: one tensor of each model. Sums are in float64 and rounded once to the type of the first model.
"""

import json
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch

from llm_core.errors import UserError
from llm_core.models.configs import ADAPTER, SNAPSHOTS
from llm_core.models.loading import load_tokenizer
from llm_core.models.weight_files import WeightFiles, WeightWriter, size_of, write_index
from llm_core.runtime import progress
from llm_core.runtime.digests import content_digest
from llm_core.runtime.storage import output_folder, read_json, write_json

Method = Literal["linear", "ties"]
NOT_ARCHITECTURE = {"transformers_version", "dtype", "torch_dtype", "_name_or_path", "use_cache"}
"""Keys of config.json that may differ between models that are merged."""
TOKENIZER_PARTS = ("model", "normalizer", "pre_tokenizer", "post_processor", "added_tokens")
BESIDE = (
    "config.json", "generation_config.json", "*.py", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "vocab*", "merges.txt", "*.model", "chat_template*",
)  # fmt: skip
"""Files of a model folder that are taken from the first model as they are."""


def last_of_run(model: Path, count: int) -> list[Path]:
    """The newest `count` models of a run, oldest first: its snapshots, and at the end the finished model.

    Raises UserError where the run has kept fewer.
    """
    found = [*sorted(path.parent for path in (model / SNAPSHOTS).glob("step*/config.json")), model]
    if len(found) < count:
        raise UserError(
            f"{model}: --last {count}, but the run has kept {len(found) - 1} snapshots beside the finished model; "
            "train it with pretraining.snapshot_every"
        )
    return found[-count:]


def decaying(count: int, decay: float) -> list[float]:
    """Weights of an exponential moving average over `count` models: the last has 1, each earlier one `decay` times the
    next. Raises UserError outside 0 < decay <= 1."""
    if not 0 < decay <= 1:
        raise UserError(f"--ema {decay}: write a decay above 0 and up to 1")
    return [decay ** (count - 1 - number) for number in range(count)]


def merge(
    models: Sequence[Path], weights: Sequence[float], out: Path, method: Method = "linear", base: Path | None = None,
    density: float = 0.2,
) -> dict[str, Any]:  # fmt: skip
    """Write the merge of `models` to `out` and return its record, metrics.json.

    linear: the mean with `weights`, which are divided by their sum. ties: `base` plus what is left of the differences
    from it after the smallest are dropped (the share `density` is kept) and the signs agree. Raises UserError for
    weights that do not fit, and for models that differ in architecture, tokenizer or tensors, by name.
    """
    _check_arguments(models, weights, method, base, density)
    everything = [*models, *([base] if base else [])]
    for other in everything[1:]:
        _check_same(everything[0], other)
    shares = [weight / sum(weights) for weight in weights]
    mixed = _linear(shares) if base is None else _ties(shares, density)
    with ExitStack() as stack:
        files = [stack.enter_context(WeightFiles(folder)) for folder in everything]
        kinds = files[0].kinds()
        for one in files[1:]:
            _check_tensors(files[0], one)
        total = sum(size_of(*kind) for kind in kinds.values())
        folder = stack.enter_context(output_folder(out, everything))
        work = stack.enter_context(progress.task(f"merge {len(models)} models", total=total, unit="B"))
        for file, names in files[0].layout.items():
            with WeightWriter(folder / file, {name: kinds[name] for name in names}) as writer:
                for name in names:
                    tensors = [one.tensor(name) for one in files]
                    writer.add(name, _merged(name, tensors, everything, mixed))
                    work.update(size_of(*kinds[name]))
        write_index(folder, files[0].layout, kinds)
        for pattern in BESIDE:
            for beside in sorted(models[0].glob(pattern)):
                shutil.copyfile(beside, folder / beside.name)
        record = {
            "parameters": sum(torch.Size(shape).numel() for _, shape in kinds.values()),
            "merged": {
                "method": method,
                **({"density": density, "base": _named(base)} if base else {}),
                "models": [_named(one) | {"weight": share} for one, share in zip(models, shares, strict=True)],
            },
        }
        write_json(folder / "metrics.json", record)
    return record


def _named(model: Path) -> dict[str, Any]:
    return {"path": str(model), "digest": content_digest(model)}


def _linear(shares: Sequence[float]) -> Callable[[list[torch.Tensor]], torch.Tensor]:
    def mixed(tensors: list[torch.Tensor]) -> torch.Tensor:
        total = torch.zeros_like(tensors[0])
        for tensor, share in zip(tensors, shares, strict=True):
            total.add_(tensor, alpha=share)
        return total

    return mixed


def _ties(shares: Sequence[float], density: float) -> Callable[[list[torch.Tensor]], torch.Tensor]:
    from peft.utils.merge_utils import ties

    scale = torch.tensor(shares, dtype=torch.float64, device="cpu") * len(shares)  # its own mean divides by the number

    def mixed(tensors: list[torch.Tensor]) -> torch.Tensor:
        *models, base = tensors
        kept = density if density * base.numel() >= 1 else 1.5 / base.numel()  # one change at least, also of a scalar
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that a density above 1 prunes nothing
            return base + ties([model - base for model in models], scale, kept)

    return mixed


def _merged(
    name: str, tensors: list[torch.Tensor], models: Sequence[Path], mixed: Callable[[list[torch.Tensor]], torch.Tensor]
) -> torch.Tensor:
    first = tensors[0]
    if first.is_floating_point():
        return mixed([tensor.double() for tensor in tensors]).to(first.dtype)
    for tensor, model in zip(tensors, models, strict=True):
        if not torch.equal(tensor, first):
            raise UserError(f"{model}: {name} holds whole numbers that differ from those of {models[0]}")
    return first


def _check_arguments(
    models: Sequence[Path], weights: Sequence[float], method: str, base: Path | None, density: float
) -> None:
    if len(models) < 2:
        raise UserError("give at least two models to merge, or --last N for the last N of one run")
    if len(weights) != len(models):
        raise UserError(f"{len(weights)} weights for {len(models)} models: give one --weight for each model, or none")
    if not 0 < sum(weights) < math.inf:
        raise UserError(f"the weights {', '.join(map(str, weights))} have no positive, finite sum")
    if (method == "ties") != (base is not None):
        raise UserError("--merge-method ties needs --base, the model that all others descend from; linear takes none")
    if not 0 < density <= 1:
        raise UserError(f"--density {density}: write a share above 0 and up to 1")


def _check_same(first: Path, other: Path) -> None:
    for model in (first, other):
        if (model / ADAPTER).is_file():
            raise UserError(f"{model}: holds an adapter alone; give the folder above it, which holds the merged model")
        if not (model / "config.json").is_file():
            raise UserError(f"{model}: holds no model (no config.json)")
    ours, theirs = (read_json(model / "config.json") for model in (first, other))
    keys = [key for key in sorted({*ours, *theirs} - NOT_ARCHITECTURE) if ours.get(key) != theirs.get(key)]
    if keys:
        what = "; ".join(f"{key} {ours.get(key)} and {theirs.get(key)}" for key in keys[:3])
        more = f"; and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise UserError(f"{first} and {other} differ in architecture and cannot be merged: {what}{more}")
    ours, theirs = (json.loads(load_tokenizer(model).backend_tokenizer.to_str()) for model in (first, other))
    if parts := [part for part in TOKENIZER_PARTS if ours.get(part) != theirs.get(part)]:
        raise UserError(f"{first} and {other} have different tokenizers (they differ in: {', '.join(parts)})")


def _check_tensors(first: WeightFiles, other: WeightFiles) -> None:
    ours = {name: shape for name, (_, shape) in first.kinds().items()}
    theirs = {name: shape for name, (_, shape) in other.kinds().items()}
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            shapes = (str(list(found[name])) if name in found else "absent" for found in (ours, theirs))
            raise UserError(f"{first.folder} and {other.folder}: tensor {name} is {' and '.join(shapes)}")
