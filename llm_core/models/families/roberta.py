"""RoBERTa (Liu et al. 2019, arXiv:1907.11692): BERT without the prediction of the next sentence.

Its positions are numbered from the padding token's id on, so its table has as many rows more.
"""

from typing import Any

from llm_core.errors import UserError
from llm_core.models.family import Family, masked_class
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers. Raises UserError where the tokenizer has no padding token."""
    import transformers

    if common["pad_token_id"] is None:
        raise UserError("model.family roberta: numbers positions from its padding token on; the tokenizer has none")
    return transformers.RobertaConfig(
        hidden_size=sizes.width, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward, max_position_embeddings=positions + common["pad_token_id"] + 1,
        type_vocab_size=1, hidden_dropout_prob=model.dropout, attention_probs_dropout_prob=model.dropout, **common,
    )  # fmt: skip


def hidden_states(network: Any, inputs: dict[str, Any]) -> Any:
    """What the output layer reads: the states of the encoder behind the transform of the masked-token head."""
    from torch.nn.functional import gelu

    head = network.lm_head
    return head.layer_norm(gelu(head.dense(network.roberta(**inputs).last_hidden_state)))


FAMILY = Family(
    config=config, model_types=("roberta",), objective="masked", network=masked_class, hidden_states=hidden_states,
    separates_documents=False,
)  # fmt: skip
