"""BLOOM (Le Scao et al. 2022, arXiv:2211.05100): positions as a linear bias of attention (ALiBi)."""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.BloomConfig(
        hidden_size=sizes.width, n_layer=sizes.layers, n_head=sizes.heads, hidden_dropout=model.dropout,
        attention_dropout=model.dropout, seq_length=positions, **common,
    )  # fmt: skip


FAMILY = Family(config=config, model_types=("bloom",), separates_documents=False)
