"""The Transformer of 2017 (Vaswani et al., arXiv:1706.03762): encoder and decoder, sinusoidal positions, norms behind
each sublayer, ReLU, one table of embeddings for encoder, decoder and head.

transformers has it as Marian, whose models are this architecture. Trained on corrupted spans, as t5 is; a few steps
make a network for `finetune translation`, which is what the paper trained it on.
"""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.MarianConfig(
        d_model=sizes.width, encoder_layers=sizes.layers, decoder_layers=sizes.layers,
        encoder_attention_heads=sizes.heads, decoder_attention_heads=sizes.heads,
        encoder_ffn_dim=sizes.feed_forward, decoder_ffn_dim=sizes.feed_forward, activation_function="relu",
        max_position_embeddings=positions, dropout=model.dropout, scale_embedding=True,
        share_encoder_decoder_embeddings=True, decoder_start_token_id=common["pad_token_id"],
        forced_eos_token_id=None, **common,
    )  # fmt: skip


def network(config: Any) -> Any:
    """The class with the head of the decoder."""
    import transformers

    return transformers.MarianMTModel


def hidden_states(network: Any, inputs: dict[str, Any]) -> Any:
    """The states of the decoder, which reads the encoder's."""
    used = inputs["attention_mask"]
    encoded = network.model.encoder(input_ids=inputs["input_ids"], attention_mask=used).last_hidden_state
    return network.model.decoder(
        input_ids=inputs["decoder_ids"], encoder_hidden_states=encoded, encoder_attention_mask=used, use_cache=False
    ).last_hidden_state


FAMILY = Family(
    config=config, model_types=("marian",), objective="span", network=network, hidden_states=hidden_states,
    separates_documents=False,
)  # fmt: skip
