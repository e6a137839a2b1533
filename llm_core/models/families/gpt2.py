"""GPT-2 (Radford et al. 2019): learnt positions, layer norms before each part."""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.GPT2Config(
        n_positions=positions, n_embd=sizes.width, n_layer=sizes.layers, n_head=sizes.heads,
        n_inner=sizes.feed_forward, resid_pdrop=model.dropout, embd_pdrop=model.dropout, attn_pdrop=model.dropout,
        **common,
    )  # fmt: skip


FAMILY = Family(config=config, model_types=("gpt2",))
