"""Params of open models: models that others published, taken into the graph under a name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from llm_core.params.base import Section

MADE_HERE = frozenset({"base"})
"""names under data/models that a stage of dvc.yaml writes"""


class OpenModel(Section):
    """A model to take: a local folder in the Hugging Face layout, or a model of the hub at one commit."""

    from_: str = Field(alias="from", min_length=1)
    """A folder, or the model's name on the hub, such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    """The commit of a hub model, all 40 digits (on the hub: Files, History). A branch would change the model
    without notice, so a hub model without a commit is refused with the present one in the message."""


def check_names(models: dict[str, OpenModel]) -> None:
    """Raise ValueError where a name is that of a model which the pipeline makes itself."""
    for name in MADE_HERE & models.keys():
        raise ValueError(f"the name {name!r} is that of the pretrained model, data/models/{name}; choose another")


def folder_of(name: str) -> str:
    """Where the stage `open-model` puts the model of this name."""
    return f"data/models/{name}"


def opened(models: Mapping[str, OpenModel], model: str) -> str | None:
    """The name of the open model that `model` means, by its name or by the folder of its stage; None for another."""
    if model in models and not Path(model).is_dir():
        return model
    name = Path(model).name
    return name if name in models and Path(model) == Path(folder_of(name)) else None


def origin(model: OpenModel) -> str:
    """Where an open model comes from, and at which commit: what decides its content."""
    return model.from_ if Path(model.from_).is_dir() else f"{model.from_}@{model.revision}"


def check_judge(models: dict[str, OpenModel], judge: str, evaluated: list[str], benchmark: str) -> None:
    """Raise ValueError where a judge is evaluated itself, or is made by a stage that comes later."""
    place = f"evaluation.benchmarks.own.{benchmark}.judge.model"
    name = opened(models, judge)
    if name in evaluated:
        raise ValueError(
            f"{place}: {judge} is in evaluation.models too, and a model favours its own answers; take another judge"
        )
    if name is None and Path(judge).is_relative_to("data/models"):
        raise ValueError(
            f"{place}: {judge} is made by the graph, after the benchmarks are fetched; copy it to a folder "
            "outside data/"
        )


def parent_by_name(values: Any) -> Any:
    """Raw params in which an open model's name as `pretraining.parent` is written as its folder."""
    try:
        parent, models = values["pretraining"]["parent"], values["open_models"]
        if parent in models and not Path(parent).is_dir():
            return values | {"pretraining": values["pretraining"] | {"parent": folder_of(parent)}}
    except (KeyError, TypeError):  # not given, or of a wrong type, which validation names
        pass
    return values


def check_own_tokenizer(models: dict[str, OpenModel], parent: str | None, tokenizer: str) -> None:
    """Raise ValueError where a tokenizer is named by a model's name alone, or a continued model has not its own."""
    if tokenizer in models and not Path(tokenizer).is_dir():
        raise ValueError(f"tokenizer.from: write {folder_of(tokenizer)}, the folder of the open model {tokenizer}")
    for name in models:
        if parent and Path(parent) == Path(folder_of(name)) and Path(tokenizer) != Path(parent):
            raise ValueError(
                f"pretraining.parent is the open model {name}, so set tokenizer.from: {folder_of(name)}; "
                "a model is continued with its own tokenizer"
            )
