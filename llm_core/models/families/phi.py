"""Phi (Li et al. 2023, arXiv:2309.05463): attention and feed-forward in parallel, half of each head rotated."""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    made = settings(model, sizes, positions, common)
    made["rope_parameters"] |= {"partial_rotary_factor": 0.5}
    return transformers.PhiConfig(resid_pdrop=model.dropout, embd_pdrop=model.dropout, **made)


FAMILY = Family(config=config, model_types=("phi",), knobs=frozenset({"key_value_heads"}))
