"""SmolLM 3 (Hugging Face 2025): LLaMA in which every fourth layer has no positions (NoPE, arXiv:2501.18795)."""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.SmolLM3Config(**settings(model, sizes, positions, common))


FAMILY = Family(
    config=config, model_types=("smollm3",), gated=True, knobs=frozenset({"key_value_heads", "rope_scaling"})
)
