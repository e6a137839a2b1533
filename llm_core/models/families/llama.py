"""LLaMA (Touvron et al. 2023, arXiv:2302.13971); with a sliding window it is exported under its name Mistral."""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.rotary import rope_parameters
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def settings(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> dict[str, Any]:
    """What the configs of LLaMA and of its descendants in transformers name alike."""
    return {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
        "max_position_embeddings": positions,
        "rope_parameters": rope_parameters(model.rope_theta, model.rope_scaling, positions),
        "attention_dropout": model.dropout,
        **common,
    }


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    made = settings(model, sizes, positions, common)
    if model.sliding_window:
        return transformers.MistralConfig(sliding_window=model.sliding_window, **made)
    return transformers.LlamaConfig(**made)


FAMILY = Family(
    config=config, model_types=("llama", "mistral"), gated=True,
    knobs=frozenset({"sliding_window", "key_value_heads", "rope_scaling"}),
)  # fmt: skip
