"""The registry of finetuning methods: those of the package `methods`, and those of entry points."""

from typing import Any

from llm_core.errors import UserError
from llm_core.models.configs import read_config
from llm_core.models.family import Kind, family_of, kind_of
from llm_core.params import finetuning
from llm_core.training.finetuning.heads import GENERATION
from llm_core.training.finetuning.method import Method


def methods() -> dict[str, Method]:
    """Name -> method, sorted by name."""
    found: dict[str, Method] = finetuning.methods()
    return found


def method(name: str) -> Method:
    """The method `name`. Raises UserError that lists the methods where there is none."""
    if name not in (known := methods()):
        raise UserError(f"no finetuning method '{name}' (there are {', '.join(known)})")
    return known[name]


def check_applies(name: str, folder: Any) -> Kind:
    """The kind of the model in `folder`. Raises UserError, with the reason, where the method cannot train it."""
    config = read_config(folder)
    kind = kind_of(config)
    if kind not in method(name).kinds:
        able = ", ".join(other for other, found in methods().items() if kind in found.kinds)
        article = "a" if kind == "decoder" else "an"
        raise UserError(
            f"{folder}: {name} does not apply to {config.model_type}, {article} {kind}: {method(name).why_not} "
            f"(methods for this model: {able})"
        )
    if not method(name).head.exists_for(config, kind):
        raise UserError(
            f"{folder}: {name} does not apply to {config.model_type}: transformers has no {config.model_type} "
            f"with a head for {method(name).head.name}"
        )
    if method(name).head is GENERATION:
        from llm_core.models.loading import check_purpose

        check_purpose(folder, config, "language")  # transformers drops another head, and takes tied embeddings for one
    if method(name).head is GENERATION and not family_of(config).attends:
        raise UserError(
            f"{folder}: {name} does not apply to {config.model_type}: TRL asks a network for the states below its "
            "head, which our recurrent ones do not give"
        )
    return kind
