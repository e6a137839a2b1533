"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): an encoder with rotary positions and gated layers.

One layer of three attends to all tokens, the others to a window around each.
"""

from typing import Any

from llm_core.models.family import Family, masked_class
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers; without `sliding_window` every layer attends to all tokens."""
    import transformers

    kinds = None if model.sliding_window else ["full_attention"] * sizes.layers
    return transformers.ModernBertConfig(
        hidden_size=sizes.width, intermediate_size=sizes.feed_forward, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, max_position_embeddings=positions, layer_types=kinds,
        local_attention=2 * (model.sliding_window or positions), attention_dropout=model.dropout,
        embedding_dropout=model.dropout, mlp_dropout=model.dropout, cls_token_id=common["bos_token_id"],
        sep_token_id=common["eos_token_id"], **common,
    )  # fmt: skip


def hidden_states(network: Any, inputs: dict[str, Any]) -> Any:
    """What the output layer reads: the states of the encoder behind the transform of the masked-token head."""
    return network.head(network.model(**inputs).last_hidden_state)


FAMILY = Family(
    config=config, model_types=("modernbert",), objective="masked", hidden_states=hidden_states, gated=True,
    network=masked_class, separates_documents=False, knobs=frozenset({"sliding_window"}),
)  # fmt: skip
