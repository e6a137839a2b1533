"""params.yaml as typed, documented models: the only place of the pipeline's knobs.

One file here for each section of params.yaml. `load` reads the file, applies
`--set KEY=VALUE` overrides, and validates; an unknown or ill-typed key is a UserError
that names the key and what it accepts.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from llm_core.errors import UserError
from llm_core.params.ablation import Ablation
from llm_core.params.base import Section
from llm_core.params.checks import Checks
from llm_core.params.cleaning import Cleaning
from llm_core.params.decontamination import Decontamination
from llm_core.params.deduplication import Deduplication
from llm_core.params.embeddings import Word2Vec
from llm_core.params.evaluation import Evaluation
from llm_core.params.finetuning import Finetuning
from llm_core.params.mix import Mix
from llm_core.params.model import Model
from llm_core.params.pretraining import Pretraining
from llm_core.params.report import Report
from llm_core.params.retrieval import Agent, Retrieval
from llm_core.params.scaling import Scaling
from llm_core.params.serving import Serving
from llm_core.params.shards import Shards
from llm_core.params.sources import Network, Source
from llm_core.params.split import Split
from llm_core.params.text_deduplication import TextDeduplication
from llm_core.params.tokenizer import Tokenizer


class Params(Section):
    """The whole of params.yaml."""

    seed: int = 20261123
    """Seed of everything random: shuffles, samples, initial weights."""
    network: Network = Network()
    """How downloads behave; never changes what is downloaded, so no stage depends on it."""
    sources: dict[str, Source] = Field(default_factory=dict)
    """The corpora, by the name that documents carry in `source`."""
    shards: Shards = Shards()
    cleaning: Cleaning = Cleaning()
    deduplication: Deduplication = Deduplication()
    text_deduplication: TextDeduplication = TextDeduplication()
    decontamination: Decontamination = Decontamination()
    split: Split = Split()
    mix: Mix = Mix()
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    pretraining: Pretraining = Pretraining()
    finetuning: Finetuning = Finetuning()
    evaluation: Evaluation = Evaluation()
    report: Report = Report()
    serving: Serving = Serving()
    checks: Checks = Checks()
    scaling: Scaling = Scaling()
    retrieval: Retrieval = Retrieval()
    agent: Agent = Agent()
    word2vec: Word2Vec = Word2Vec()
    ablation: Ablation = Ablation()


def load(path: str | Path = "params.yaml", overrides: list[str] | None = None) -> Params:
    """Read and validate a params file, with `KEY=VALUE` overrides (dotted keys, YAML values).

    Raises UserError: no such file, not YAML, an unknown key, a value of the wrong type.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such params file (give --params FILE)") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a mapping of sections is needed, not {type(values).__name__}")
    for override in overrides or []:
        _apply(values, override)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """Pydantic's findings as one line: the key, what is wrong, and what the section accepts."""
    findings = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            accepted = _accepted(item["loc"][:-1])
            findings.append(f"unknown key '{key}'" + (f" (accepted here: {', '.join(accepted)})" if accepted else ""))
        else:
            findings.append(f"'{key}': {item['msg'].lower()}, got {item['input']!r}")
    return "; ".join(findings)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write KEY=VALUE, for example --set pretraining.steps=100")
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {override}: '{parent}' is a value, not a section")
        values = inner
    values[last] = yaml.safe_load(text)


def _accepted(location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that the section at `location` accepts, [] where that is not one model."""
    model: Any = Params
    for part in location:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return []
        model = field.annotation
    return sorted(model.model_fields) if hasattr(model, "model_fields") else []
