"""T5 1.1 (Raffel et al. 2020, arXiv:1910.10683): encoder and decoder, trained on corrupted spans."""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers."""
    import transformers

    return transformers.T5Config(
        d_model=sizes.width, d_kv=sizes.width // sizes.heads, d_ff=sizes.feed_forward, num_layers=sizes.layers,
        num_decoder_layers=sizes.layers, num_heads=sizes.heads, dropout_rate=model.dropout,
        feed_forward_proj="gated-gelu", decoder_start_token_id=common["pad_token_id"], n_positions=positions, **common,
    )  # fmt: skip


def network(config: Any) -> Any:
    """The class with the head of the decoder."""
    import transformers

    return transformers.T5ForConditionalGeneration


def hidden_states(network: Any, inputs: dict[str, Any]) -> Any:
    """The states of the decoder, which reads the encoder's; scaled where the config ties the embeddings."""
    used = inputs["attention_mask"]
    encoded = network.encoder(input_ids=inputs["input_ids"], attention_mask=used).last_hidden_state
    hidden = network.decoder(
        input_ids=inputs["decoder_ids"], encoder_hidden_states=encoded, encoder_attention_mask=used, use_cache=False
    ).last_hidden_state
    return hidden * network.model_dim**-0.5 if network.config.scale_decoder_outputs else hidden


FAMILY = Family(
    config=config, model_types=("t5",), objective="span", network=network, hidden_states=hidden_states, gated=True,
    separates_documents=False,
)  # fmt: skip
