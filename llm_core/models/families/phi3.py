"""Phi-3 and Phi-4 (Abdin et al. 2024, arXiv:2404.14219): LLaMA with one product for queries, keys and values."""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers; a sliding window is that of every layer."""
    import transformers

    return transformers.Phi3Config(
        sliding_window=model.sliding_window, original_max_position_embeddings=positions, resid_pdrop=model.dropout,
        embd_pdrop=model.dropout, **settings(model, sizes, positions, common),
    )  # fmt: skip


FAMILY = Family(
    config=config, model_types=("phi3",), gated=True, knobs=frozenset({"sliding_window", "key_value_heads"})
)
