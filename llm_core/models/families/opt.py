"""OPT (Zhang et al. 2022, arXiv:2205.01068): learnt positions, ReLU."""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.OPTConfig(
        hidden_size=sizes.width, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
        ffn_dim=sizes.feed_forward, max_position_embeddings=positions, word_embed_proj_dim=sizes.width,
        dropout=model.dropout, attention_dropout=model.dropout, layerdrop=0.0, **common,
    )  # fmt: skip


FAMILY = Family(config=config, model_types=("opt",))
