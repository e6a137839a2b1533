"""BERT (Devlin et al. 2019, arXiv:1810.04805): an encoder that predicts masked tokens."""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.BertConfig(
        hidden_size=sizes.width, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward, max_position_embeddings=positions,
        hidden_dropout_prob=model.dropout, attention_probs_dropout_prob=model.dropout, **common,
    )  # fmt: skip


def network(config: Any) -> Any:
    """The class with the head that predicts masked tokens."""
    import transformers

    return transformers.BertForMaskedLM


def hidden_states(network: Any, inputs: dict[str, Any]) -> Any:
    """What the head reads: the states of the encoder behind the transform of the masked-token head."""
    return network.cls.predictions.transform(network.bert(**inputs).last_hidden_state)


FAMILY = Family(config=config, model_types=("bert",), objective="masked", network=network, hidden_states=hidden_states)
