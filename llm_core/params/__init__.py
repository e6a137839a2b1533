"""params.yaml as typed, documented models: the only place of the pipeline's knobs.

One file here for each section of params.yaml. `load` reads the file (or a preset, which is merged over
params.yaml), applies `--set KEY=VALUE` overrides, and validates; an unknown or ill-typed key is a UserError
that names the key and what the section accepts.
"""

import re
import unicodedata
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

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
from llm_core.params.launch import Launch
from llm_core.params.mix import Mix
from llm_core.params.model import Model
from llm_core.params.open_models import OpenModel, check_judge, check_names, check_own_tokenizer, parent_by_name
from llm_core.params.presets import values_of
from llm_core.params.pretraining import Pretraining
from llm_core.params.reading import check_moved, explain, override
from llm_core.params.report import Report
from llm_core.params.retrieval import Agent, Retrieval
from llm_core.params.scaling import Scaling
from llm_core.params.serving import Serving
from llm_core.params.shards import Shards
from llm_core.params.sources import Network, Source
from llm_core.params.split import Split
from llm_core.params.text_deduplication import TextDeduplication
from llm_core.params.tokenizer import Tokenizer

SOURCE_NAME = re.compile(r"(?![.\- ])[^\x00-\x1f\x7f/\\:*?\"<>|{}]+(?<![. ])")


class Params(Section):
    """The whole of params.yaml."""

    seed: int = 20261123
    """Seed of everything random: shuffles, samples, initial weights."""
    launch: Launch = Launch()
    """Where work runs; never changes what is written, so no stage depends on it."""
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
    open_models: dict[str, OpenModel] = Field(default_factory=dict)
    """Models that others published, by name; `llm-core fetch-model NAME` puts each into data/models/NAME."""
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    pretraining: Pretraining = Pretraining()
    finetuning: Finetuning = Field(default_factory=Finetuning)
    evaluation: Evaluation = Evaluation()
    report: Report = Report()
    serving: Serving = Serving()
    checks: Checks = Checks()
    scaling: Scaling = Scaling()
    retrieval: Retrieval = Retrieval()
    agent: Agent = Agent()
    word2vec: Word2Vec = Word2Vec()
    ablation: Ablation = Ablation()

    @model_validator(mode="before")
    @classmethod
    def _parent_by_name(cls, values: Any) -> Any:
        """The name of an open model as pretraining's parent means the folder that its stage writes."""
        return parent_by_name(values)

    @model_validator(mode="after")
    def _own_tokenizer(self) -> Self:
        check_own_tokenizer(self.open_models, self.pretraining.parent, self.tokenizer.from_)
        return self

    @model_validator(mode="after")
    def _judges(self) -> Self:
        for name, own in self.evaluation.benchmarks.own.items():
            if own.judge:
                check_judge(self.open_models, own.judge.model, self.evaluation.models, name)
        return self

    @model_validator(mode="after")
    def _one_model_a_folder(self) -> Self:
        """Open models and finetunes are both folders below data/models."""
        if both := sorted(self.open_models.keys() & self.finetuning.runs.keys()):
            raise ValueError(f"'{both[0]}' is an open model and a finetune, both in data/models/{both[0]}; rename one")
        return self

    @field_validator("sources", "open_models")
    @classmethod
    def _names_are_folders(cls, named: dict[str, Any], about: ValidationInfo) -> dict[str, Any]:
        """A source's or open model's name is also the name of its folders, on file systems that ignore case too."""
        what = "source" if about.field_name == "sources" else "model"
        seen: dict[str, str] = {}
        for name in named:
            if not SOURCE_NAME.fullmatch(name):
                raise ValueError(
                    f"the {what} name {name!r} cannot name a folder: none of / \\ : * ? \" < > | {{ }}, no '.', '-' or "
                    "blank in front, no '.' or blank at the end"
                )
            other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
            if other != name:
                raise ValueError(f"the {what} names {other!r} and {name!r} differ in case or form alone; rename one")
        if what == "model":
            check_names(named)
        return named


def load(path: str | Path = "params.yaml", overrides: list[str] | None = None) -> Params:
    """Read and validate a params file or a preset, with `KEY=VALUE` overrides (dotted keys, YAML values).

    Raises UserError: no such file, not YAML, an unknown key, a value of the wrong type, a key at its earlier place.
    """
    return validate(values_of(path), path, overrides)


def validate(values: dict[str, Any], name: str | Path, overrides: list[str] | None = None) -> Params:
    """The params of raw `values` with overrides applied to them; `name` is what errors call the values."""
    for assignment in overrides or []:
        override(values, assignment)
    check_moved(values, name)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{name}: {explain(error, Params)}") from None
