"""The ladder: small models trained by the pretraining verb itself, each to the end of its own schedule.

Each rung is a process of `llm-core pretrain` with the params of this project and the rung's
overrides, so what is extrapolated is what will be trained. Of a rung only its figures are
kept (`runs/NAME.json`); one whose settings and data have not changed is not trained again.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from llm_core import progress
from llm_core.digests import content_digest, short_hash
from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.storage import read_json, write_json


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
    settings = rung_settings(params, name)
    file = out / "runs" / f"{name}.json"
    digest = settings_digest(settings, tokens, tokenizer)
    if file.is_file() and read_json(file).get("settings_digest") == digest:
        progress.log(f"scaling: rung {name} has been trained already")
        return file
    with tempfile.TemporaryDirectory(prefix="scaling-") as scratch:
        written = Path(scratch) / "params.yaml"
        written.write_text(yaml.safe_dump(settings), encoding="utf-8")
        model = Path(scratch) / "model"
        verb = [sys.executable, "-m", "llm_core.cli", "pretrain", "--params", str(written)]
        places = ["--tokens", str(tokens), "--tokenizer", str(tokenizer), "--out", str(model)]
        if subprocess.run([*verb, *places]).returncode:
            raise UserError(f"rung {name}: its training failed (see above)")
        figures = read_json(model / "metrics.json")
        embeddings = _embedding_parameters(model)
    if "heldout_bits_per_byte" not in figures:
        raise UserError(f"rung {name}: {tokens} holds no held-out shards, or the family predicts no next token")
    write_json(
        file,
        {
            "name": name,
            "parameters": figures["parameters"],
            "blocks": figures["parameters"] - embeddings,
            "tokens": figures["tokens"],
            "compute": 6.0 * figures["parameters"] * figures["tokens"],
            "loss": figures["heldout_bits_per_byte"],
            "metrics": figures,
            "settings_digest": digest,
        },
    )
    return file


def rung_settings(params: Params, name: str) -> dict[str, Any]:
    """The whole params of a rung: those of the project with the ladder's and the rung's overrides."""
    if name not in params.scaling.rungs:
        raise UserError(f"scaling.rungs has no '{name}' (it has {', '.join(params.scaling.rungs) or 'none'})")
    rung = params.scaling.rungs[name]
    settings = params.model_dump(mode="json")
    del settings["scaling"]
    override(settings["model"], rung.model, f"scaling.rungs.{name}.model")
    override(settings["pretraining"], params.scaling.pretraining, "scaling.pretraining")
    batch = settings["pretraining"]["batch_tokens"]
    if not batch:
        raise UserError("the ladder counts steps in batches: set scaling.pretraining.batch_tokens")
    settings["pretraining"]["steps"] = max(round(rung.tokens / batch), 1)
    return settings


def settings_digest(settings: dict[str, Any], tokens: Path, tokenizer: Path) -> str:
    """Digest of what decides a rung's outcome: seed, model, pretraining, the tokens and the tokenizer."""
    decisive = {section: settings[section] for section in ("seed", "model", "pretraining")}
    return short_hash(yaml.safe_dump(decisive), content_digest(tokens), content_digest(tokenizer / "tokenizer.json"))


def read_runs(out: Path, names: Sequence[str]) -> list[Run]:
    """Figures of the rungs named, by rising compute. Raises UserError for one that is not trained yet."""
    runs = []
    for name in names:
        file = out / "runs" / f"{name}.json"
        if not file.is_file():
            raise UserError(f"{file}: rung {name} is not trained yet; `llm-core scaling {name}` does it")
        content = read_json(file)
        runs.append(Run(**{field: content[field] for field in Run._fields}))
    return sorted(runs, key=lambda run: (run.compute, run.name))


def override(settings: dict[str, Any], changes: dict[str, Any], where: str) -> None:
    """Put `changes` into `settings`, in place; UserError for a key that `settings` does not have."""
    for key, value in changes.items():
        if key not in settings:
            raise UserError(f"unknown key '{where}.{key}' (accepted here: {', '.join(sorted(settings))})")
        if isinstance(value, dict) and isinstance(settings[key], dict):
            override(settings[key], value, f"{where}.{key}")
        else:
            settings[key] = value


def _embedding_parameters(model: Path) -> int:
    """Weights that are embedding or head, of the tensors in a safetensors file."""
    from safetensors import safe_open

    count = 0
    with safe_open(model / "model.safetensors", framework="numpy") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a dictionary
            if any(part in name for part in ("embed", "wte", "wpe", "lm_head", "shared")):
                size = 1
                for length in weights.get_slice(name).get_shape():
                    size *= length
                count += size
    return count
