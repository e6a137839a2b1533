"""Model families: each a transformers class built from a config with random weights, never downloaded.

What a family is called in params.yaml, which objective it is trained on, and how `Shape`
maps onto its config's names. The LSTM, which transformers lacks, is in lstm.py.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers

from llm_core.errors import UserError
from llm_core.models import lstm
from llm_core.models.attention import NAME as BLOCKED
from llm_core.models.scale import Shape, shape
from llm_core.params.model import Model

Objective = Literal["causal", "masked", "span"]
MASK_TOKEN = "<|mask|>"
LONGEST_BLOCKED = 4096  # tokens up to which keeping the probabilities is affordable
SENTINELS = 100  # T5's count of span markers


@dataclass(frozen=True)
class Vocabulary:
    """Size of the vocabulary and the ids that configs name."""

    size: int
    bos: int
    eos: int
    pad: int


def objective(family: str) -> Objective:
    """What the family is trained to predict."""
    objectives: dict[str, Objective] = {"bert": "masked", "t5": "span"}
    return objectives.get(family, "causal")


def extra_tokens(family: str) -> list[str]:
    """Special tokens that the family's objective needs beside the tokenizer's own."""
    if objective(family) == "masked":
        return [MASK_TOKEN]
    if objective(family) == "span":
        return [f"<extra_id_{number}>" for number in range(SENTINELS)]
    return []


def build_config(model: Model, vocabulary: Vocabulary, sequence_length: int) -> Any:
    """The transformers config of the model. Raises UserError for what the family does not have."""
    sizes, positions = shape(model), model.positions or sequence_length
    if positions < sequence_length:
        raise UserError(f"model.positions {positions} is shorter than pretraining.sequence_length {sequence_length}")
    for knob, given, families in (
        ("sliding_window", model.sliding_window is not None, ("llama",)),
        ("key_value_heads", sizes.key_value_heads != sizes.heads, ("llama",)),
        ("rope_scaling", model.rope_scaling.rope_type != "default", ("llama",)),
    ):
        if given and model.family not in families:
            raise UserError(f"model.{knob}: {model.family} has none (only {', '.join(families)})")
    common = {
        "vocab_size": vocabulary.size,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.pad,
        "tie_word_embeddings": model.tie_embeddings,
    }
    return BUILDERS[model.family](model, sizes, positions, common)


def build_network(config: Any, attention: str, seed: int) -> Any:
    """The network with random weights drawn from `seed`, in fp32."""
    cls = network_class(config)
    if attention == "auto":
        short = getattr(config, "max_position_embeddings", LONGEST_BLOCKED) <= LONGEST_BLOCKED
        attention = BLOCKED if short and not torch.cuda.is_available() else "sdpa"
    if attention in ("sdpa", BLOCKED) and not getattr(cls, "_supports_sdpa", False):
        attention = "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls._from_config(config, attn_implementation=attention, dtype=torch.float32)


def network_class(config: Any) -> Any:
    """The class with the head of the family's objective."""
    mapping = {
        "bert": transformers.BertForMaskedLM,
        "t5": transformers.T5ForConditionalGeneration,
        lstm.LSTMConfig.model_type: lstm.LSTMForCausalLM,
    }
    return mapping.get(config.model_type) or transformers.AutoModelForCausalLM._model_mapping[type(config)]


def _llama(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    rope: dict[str, Any] = {"rope_theta": model.rope_theta, "rope_type": model.rope_scaling.rope_type}
    if rope["rope_type"] != "default":
        scaling = model.rope_scaling
        rope |= {
            "factor": scaling.factor,
            "original_max_position_embeddings": scaling.original_max_position_embeddings or positions,
        }
        if rope["rope_type"] == "llama3":
            rope |= {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    settings = {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
        "max_position_embeddings": positions,
        "rope_parameters": rope,
        "attention_dropout": model.dropout,
        **common,
    }
    if model.sliding_window:
        return transformers.MistralConfig(sliding_window=model.sliding_window, **settings)
    return transformers.LlamaConfig(**settings)


def _gpt2(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    return transformers.GPT2Config(
        n_positions=positions, n_embd=sizes.width, n_layer=sizes.layers, n_head=sizes.heads,
        n_inner=sizes.feed_forward, resid_pdrop=model.dropout, embd_pdrop=model.dropout, attn_pdrop=model.dropout,
        **common,
    )  # fmt: skip


def _gptj(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    head = sizes.width // sizes.heads
    return transformers.GPTJConfig(
        n_positions=positions, n_embd=sizes.width, n_layer=sizes.layers, n_head=sizes.heads,
        n_inner=sizes.feed_forward, rotary_dim=min(64, head), resid_pdrop=model.dropout, embd_pdrop=model.dropout,
        attn_pdrop=model.dropout, **common,
    )  # fmt: skip


def _bloom(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    return transformers.BloomConfig(
        hidden_size=sizes.width, n_layer=sizes.layers, n_head=sizes.heads, hidden_dropout=model.dropout,
        attention_dropout=model.dropout, seq_length=positions, **common,
    )  # fmt: skip


def _opt(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    return transformers.OPTConfig(
        hidden_size=sizes.width, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
        ffn_dim=sizes.feed_forward, max_position_embeddings=positions, word_embed_proj_dim=sizes.width,
        dropout=model.dropout, attention_dropout=model.dropout, layerdrop=0.0, **common,
    )  # fmt: skip


def _bert(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    return transformers.BertConfig(
        hidden_size=sizes.width, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward, max_position_embeddings=positions,
        hidden_dropout_prob=model.dropout, attention_probs_dropout_prob=model.dropout, **common,
    )  # fmt: skip


def _t5(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    return transformers.T5Config(
        d_model=sizes.width, d_kv=sizes.width // sizes.heads, d_ff=sizes.feed_forward, num_layers=sizes.layers,
        num_decoder_layers=sizes.layers, num_heads=sizes.heads, dropout_rate=model.dropout,
        feed_forward_proj="gated-gelu", decoder_start_token_id=common["pad_token_id"], n_positions=positions, **common,
    )  # fmt: skip


def _lstm(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    return lstm.LSTMConfig(hidden_size=sizes.width, num_hidden_layers=sizes.layers, dropout=model.dropout, **common)


BUILDERS = {
    "llama": _llama,
    "gpt2": _gpt2,
    "gptj": _gptj,
    "bloom": _bloom,
    "opt": _opt,
    "bert": _bert,
    "t5": _t5,
    "lstm": _lstm,
}
