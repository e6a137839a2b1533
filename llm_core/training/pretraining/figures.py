"""Trainings whose figures alone are kept: rungs of the scaling ladder, arms of an ablation.

Each is a process of `llm-core pretrain` with the project's params and some overrides, so the comparison applies to
the project's own training. A training whose settings and data have not changed is not repeated.
"""

import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.params.launch import TrainingLaunch
from llm_core.runtime import progress
from llm_core.runtime.digests import content_digest, short_hash
from llm_core.runtime.storage import read_json, write_json

LOSS = "heldout_bits_per_byte"


def settings_of(
    params: Params, tokens: int, launch: TrainingLaunch, *changes: tuple[str, dict[str, Any], str]
) -> dict[str, Any]:
    """The sections of params that the pretraining verb reads, for a run that sees `tokens` tokens, in whole steps
    of one phase.

    `launch` says which processes train. `changes` are (section, its overrides, what params.yaml calls them).
    Raises UserError for a key that the section does not have, or where no batch size is set to count steps by.
    """
    settings: dict[str, Any] = {
        "seed": params.seed,
        "launch": {"pretraining": launch.model_dump(mode="json")},
        "model": params.model.model_dump(mode="json"),
        "pretraining": params.pretraining.model_dump(mode="json"),
    }
    for section, values, where in changes:
        _override(settings[section], values, where)
    batch = settings["pretraining"]["batch_tokens"]
    if not batch:
        raise UserError(f"steps are counted in batches: set {changes[-1][2]}.batch_tokens")
    settings["pretraining"] |= {"steps": max(round(tokens / batch), 1), "phases": []}
    return settings


def settings_digest(settings: dict[str, Any], tokens: Path, tokenizer: Path) -> str:
    """Digest of everything that decides a run's result: seed, model, pretraining, the tokens and the tokenizer."""
    decisive = {section: settings[section] for section in ("seed", "model", "pretraining")}
    digests = [content_digest(tokens), content_digest(tokenizer / "tokenizer.json")]
    if parent := settings["pretraining"].get("parent"):
        digests.append(content_digest(Path(parent)))
    return short_hash(yaml.safe_dump(decisive), *digests)


def train(settings: dict[str, Any], tokens: Path, tokenizer: Path, file: Path) -> dict[str, Any]:
    """The figures of a run, read from `file`, or from a new training where its settings or data have changed.

    Figures are the model's metrics.json, `embedding_parameters` (weights of embeddings and head) and
    `settings_digest`. Raises UserError: the training fails, or measures no held-out bits per byte.
    """
    digest = settings_digest(settings, tokens, tokenizer)
    if file.is_file() and (known := read_json(file)).get("settings_digest") == digest:
        progress.log(f"{file.stem} has been trained already")
        return dict(known)
    with tempfile.TemporaryDirectory(prefix="training-") as scratch:
        written, model = Path(scratch) / "params.yaml", Path(scratch) / "model"
        written.write_text(yaml.safe_dump(settings), encoding="utf-8")
        verb = [sys.executable, "-m", "llm_core.cli", "pretrain", "--params", str(written)]
        places = ["--tokens", str(tokens), "--tokenizer", str(tokenizer), "--out", str(model)]
        if subprocess.run([*verb, *places]).returncode:
            raise UserError(f"{file.stem}: its training failed (see above)")
        figures = read_json(model / "metrics.json")
        figures |= {"embedding_parameters": _embedding_parameters(model), "settings_digest": digest}
    if LOSS not in figures:
        raise UserError(f"{file.stem}: {tokens} holds no held-out shards, or the family predicts no next token")
    write_json(file, figures)
    return dict(figures)


def _override(settings: dict[str, Any], changes: dict[str, Any], where: str) -> None:
    for key, value in changes.items():
        if key not in settings:
            raise UserError(f"unknown key '{where}.{key}' (accepted here: {', '.join(sorted(settings))})")
        if isinstance(value, dict) and isinstance(settings[key], dict):
            _override(settings[key], value, f"{where}.{key}")
        else:
            settings[key] = value


def _embedding_parameters(model: Path) -> int:
    from llm_core.models.weight_files import WeightFiles

    with WeightFiles(model) as weights:
        return sum(
            math.prod(shape)
            for name, (_, shape) in weights.kinds().items()
            if any(part in name for part in ("embed", "wte", "wpe", "lm_head", "shared", "value_tables"))
        )
