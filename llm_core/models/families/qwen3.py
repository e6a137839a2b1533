"""Qwen 3 (Yang et al. 2025, arXiv:2505.09388): LLaMA with norms of queries and keys in each head."""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers; a sliding window is that of every layer."""
    import transformers

    return transformers.Qwen3Config(
        head_dim=sizes.width // sizes.heads, use_sliding_window=model.sliding_window is not None,
        sliding_window=model.sliding_window, max_window_layers=0, **settings(model, sizes, positions, common),
    )  # fmt: skip


FAMILY = Family(
    config=config, model_types=("qwen3",), gated=True,
    knobs=frozenset({"sliding_window", "key_value_heads", "rope_scaling"}),
)  # fmt: skip
