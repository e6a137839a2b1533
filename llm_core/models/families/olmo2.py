"""OLMo 2 (OLMo team 2025, arXiv:2501.00656): norms behind attention and feed-forward, and of queries and keys."""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.Olmo2Config(**settings(model, sizes, positions, common))


FAMILY = Family(config=config, model_types=("olmo2",), gated=True, knobs=frozenset({"key_value_heads", "rope_scaling"}))
