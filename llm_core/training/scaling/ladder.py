"""The ladder: small models trained by the pretraining verb itself, each to the end of its own schedule.

Only the figures of a rung are kept (`runs/NAME.json`, llm_core/training/pretraining/figures.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.runtime.storage import read_json
from llm_core.training.pretraining.figures import LOSS, settings_of, train


class Run(NamedTuple):
    """Figures of a trained rung."""

    name: str
    parameters: int
    """Distinct weights in all, a tied embedding once."""
    blocks: int
    """Weights without embedding and head: Kaplan's N."""
    tokens: int
    compute: float
    """6 x parameters x tokens, in FLOP"""
    loss: float
    """Bits per byte on held-out text"""


def train_rung(params: Params, name: str, tokens: Path, tokenizer: Path, out: Path) -> Path:
    """Train rung `name`, write `out/runs/NAME.json`, and return its path.

    Raises UserError: no such rung, no batch size to count steps by, a training that fails.
    """
    file = out / "runs" / f"{name}.json"
    train(rung_settings(params, name), tokens, tokenizer, file)
    return file


def rung_settings(params: Params, name: str) -> dict[str, Any]:
    """The params of a rung's training: those of the project with the ladder's and the rung's overrides."""
    if name not in params.scaling.rungs:
        raise UserError(f"scaling.rungs has no '{name}' (it has {', '.join(params.scaling.rungs) or 'none'})")
    rung = params.scaling.rungs[name]
    return settings_of(
        params, rung.tokens, params.launch.scaling,
        ("model", rung.model, f"scaling.rungs.{name}.model"),
        ("pretraining", params.scaling.pretraining, "scaling.pretraining"),
    )  # fmt: skip


def read_runs(out: Path, names: Sequence[str]) -> list[Run]:
    """Figures of the named rungs, by rising compute. Raises UserError for a rung that is not trained yet."""
    runs = []
    for name in names:
        file = out / "runs" / f"{name}.json"
        if not file.is_file():
            raise UserError(f"{file}: rung {name} is not trained yet; `llm-core scaling {name}` does it")
        figures = read_json(file)
        parameters, tokens = figures["parameters"], figures["tokens"]
        blocks = parameters - figures["embedding_parameters"]
        runs.append(Run(name, parameters, blocks, tokens, 6.0 * parameters * tokens, figures[LOSS]))
    return sorted(runs, key=lambda run: (run.compute, run.name))
