"""A LLaMA with the switches of the speed records, each of them on or off: the family `speedrun`.

With every switch off it computes what transformers' LLaMA computes from the same weights, which have the same names.
The switches and their sources (the records of KellerJordan/modded-nanogpt and karpathy/nanochat, `nanochat/gpt.py`):

- embedding_norm: the token embeddings are normalised, so that the stream starts at the size of what is added to it
- value_embeddings: in every second layer, the last one among them, each token adds a learnt vector of its own to its
  values, by a gate for each head (Zhou et al. 2024, arXiv:2410.17897)
- residual_scalars: each layer reads a learnt multiple of the stream and of the first embeddings
- relu_squared: ReLU squared in a feed-forward layer without a gate (So et al. 2021, arXiv:2109.08668)
- qk_norm: queries and keys are normalised in each head (Henry et al. 2020, arXiv:2010.04245)
- smear: each token's embedding gets a learnt share of the one before it
- zero_init: the projections back into the stream, and an untied head, start at zero (Yang et al. 2022,
  arXiv:2203.03466)
- final_logit_softcapping: maximum size of a logit, which a hyperbolic tangent approaches
- layer_types, sliding_window: which layers attend to a window only

This file is self-contained: `save_pretrained` copies it into the model's folder, so that
`AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` loads it where this project is not installed;
with the project imported, no flag is needed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_layers import GenericForSequenceClassification, GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, slice_logits_to_keep
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaConfig,
    LlamaMLP,
    LlamaPreTrainedModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

GATE_CHANNELS = 12  # first channels of a token's state that the gates of its value embedding read, as in nanochat
SMEAR_CHANNELS = 24  # and those that the gate of the smear reads


class SpeedrunConfig(LlamaConfig):
    """LLaMA's config with the switches."""

    model_type = "llm_core_speedrun"

    embedding_norm: bool = True
    value_embeddings: bool = True
    residual_scalars: bool = True
    relu_squared: bool = True
    qk_norm: bool = True
    smear: bool = True
    zero_init: bool = True
    final_logit_softcapping: float | None = None
    sliding_window: int | None = None
    layer_types: list[str] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.layer_types is None:
            self.layer_types = ["full_attention"] * self.num_hidden_layers
        super().__post_init__(**kwargs)


def has_value_embedding(layer: int, config: SpeedrunConfig) -> bool:
    """Whether tokens have value embeddings in this layer (from 0): every second one, the last one among them."""
    return config.value_embeddings and (config.num_hidden_layers - 1 - layer) % 2 == 0


class SpeedrunMLP(nn.Module):
    """Feed-forward layer with ReLU squared, without a gate."""

    def __init__(self, config: SpeedrunConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(nn.functional.relu(self.up_proj(x)).square())  # type: ignore[no-any-return]


class SpeedrunAttention(LlamaAttention):
    """LLaMA's attention with norms of queries and keys, and with value embeddings."""

    def __init__(self, config: SpeedrunConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        sliding = config.layer_types[layer_idx] == "sliding_attention"  # type: ignore[index]
        self.sliding_window = config.sliding_window if sliding else None
        self.q_norm = self.k_norm = self.value_gate = None
        if config.qk_norm:
            self.q_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)
            self.k_norm = LlamaRMSNorm(self.head_dim, eps=config.rms_norm_eps)
        if has_value_embedding(layer_idx, config):
            self.gate_channels = min(GATE_CHANNELS, config.hidden_size)
            self.value_gate = nn.Linear(self.gate_channels, config.num_key_value_heads, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        value_embedding: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            product(hidden_states).view(shape) for product in (self.q_proj, self.k_proj, self.v_proj)
        )  # [B, T, H, D/H]
        if self.value_gate is not None:
            gate = 3 * torch.sigmoid(self.value_gate(hidden_states[..., : self.gate_channels]))  # [B, T, Hkv]
            value = value + gate.to(value.dtype).unsqueeze(-1) * value_embedding.view(value.shape).to(value.dtype)  # type: ignore[union-attr]
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = attend(
            self, query, key, value, attention_mask, dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling, sliding_window=self.sliding_window, **kwargs,
        )  # fmt: skip
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1)), weights


class SpeedrunDecoderLayer(GradientCheckpointingLayer):
    """Attention and feed-forward, each behind a norm."""

    def __init__(self, config: SpeedrunConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = SpeedrunAttention(config, layer_idx)
        self.mlp = SpeedrunMLP(config) if config.relu_squared else LlamaMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn.o_proj.starts_at_zero = self.mlp.down_proj.starts_at_zero = config.zero_init

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        hidden_states = hidden_states + self.self_attn(self.input_layernorm(hidden_states), **kwargs)[0]
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))  # type: ignore[no-any-return]


class SpeedrunPreTrainedModel(LlamaPreTrainedModel):
    """How weights start."""

    config_class = SpeedrunConfig
    config: SpeedrunConfig
    base_model_prefix = "model"
    _no_split_modules = ["SpeedrunDecoderLayer"]  # noqa: RUF012
    _can_compile_fullgraph = False  # the smear keeps embeddings in the cache
    _can_record_outputs = {"hidden_states": SpeedrunDecoderLayer, "attentions": SpeedrunAttention}  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if getattr(module, "starts_at_zero", False):
            init.zeros_(module.weight)
            return
        super()._init_weights(module)
        config = self.config
        if isinstance(module, SpeedrunModel):
            depth = torch.linspace(0, 1, config.num_hidden_layers, device=module.norm.weight.device)
            if config.residual_scalars:  # nanochat's values
                init.copy_(module.residual_scale, 1.15 - 0.10 * depth)
                init.copy_(module.first_scale, 0.20 - 0.15 * depth)
            if config.smear:
                init.zeros_(module.smear_scale)


class SpeedrunModel(SpeedrunPreTrainedModel):
    """Everything below the head: last hidden states [B, T, D] of input_ids [B, T]."""

    def __init__(self, config: SpeedrunConfig) -> None:
        super().__init__(config)
        self.padding_idx, self.vocab_size = config.pad_token_id, config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList([SpeedrunDecoderLayer(config, place) for place in range(config.num_hidden_layers)])
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.value_tables = nn.ModuleDict(
            {
                str(place): nn.Embedding(config.vocab_size, config.num_key_value_heads * config.head_dim)  # type: ignore[operator]
                for place in range(config.num_hidden_layers)
                if has_value_embedding(place, config)
            }
        )
        if config.residual_scalars:
            self.residual_scale = nn.Parameter(torch.ones(config.num_hidden_layers))
            self.first_scale = nn.Parameter(torch.zeros(config.num_hidden_layers))
        if config.smear:
            self.smear_channels = min(SMEAR_CHANNELS, config.hidden_size)
            self.smear_gate = nn.Linear(self.smear_channels, 1, bias=False)
            self.smear_scale = nn.Parameter(torch.zeros(1))
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if input_ids is None and self.config.value_embeddings:
            raise ValueError("value embeddings are looked up by input_ids, so inputs_embeds alone are not enough")
        stream = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(stream.shape[1], device=stream.device) + seen).unsqueeze(0)
        masks = self._masks(stream, attention_mask, past_key_values, position_ids)
        position_embeddings = self.rotary_emb(stream, position_ids=position_ids)
        if self.config.embedding_norm:
            stream = nn.functional.rms_norm(stream, stream.shape[-1:], eps=self.config.rms_norm_eps)
        if self.config.smear:
            stream = self._smeared(stream, position_ids, past_key_values)
        first = stream
        for place, layer in enumerate(self.layers):
            if self.config.residual_scalars:
                stream = self.residual_scale[place] * stream + self.first_scale[place] * first
            looked_up = None
            if has_value_embedding(place, self.config):
                looked_up = self.value_tables[str(place)](input_ids)  # [B, T, Hkv * D / H]
            stream = layer(
                stream,
                attention_mask=masks[self.config.layer_types[place]],  # type: ignore[index]
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                past_key_values=past_key_values,
                value_embedding=looked_up,
                use_cache=use_cache,
                **kwargs,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(stream), past_key_values=past_key_values)

    def _masks(
        self, stream: Tensor, given: Tensor | None, cache: Cache | None, position_ids: Tensor
    ) -> dict[str, Tensor | None]:
        """Kind of layer -> its mask. Of a given mask [B, 1, T, S] layers with a window see what lies in the window."""
        settings = {
            "config": self.config, "inputs_embeds": stream, "attention_mask": given, "past_key_values": cache,
            "position_ids": position_ids,
        }  # fmt: skip
        found: dict[str, Tensor | None] = {}
        if "full_attention" in self.config.layer_types:  # type: ignore[operator]
            found["full_attention"] = create_causal_mask(**settings)
        if "sliding_attention" not in self.config.layer_types:  # type: ignore[operator]
            return found
        if not isinstance(given, Tensor) or given.dim() != 4:
            return found | {"sliding_attention": create_sliding_window_causal_mask(**settings)}
        queries, keys = given.shape[-2:]
        rows = torch.arange(keys - queries, keys, device=given.device)[:, None]
        far = rows - torch.arange(keys, device=given.device) >= self.config.sliding_window
        low = False if given.dtype == torch.bool else torch.finfo(given.dtype).min
        return found | {"sliding_attention": given.masked_fill(far, low)}

    def _smeared(self, stream: Tensor, position_ids: Tensor, cache: Cache | None) -> Tensor:
        """Each embedding [B, T, D] with a share of the one before it, which a cache keeps; none at position 0, where a
        text begins."""
        before = torch.cat([torch.zeros_like(stream[:, :1]), stream[:, :-1]], 1)
        if cache is not None:
            while len(cache.layers) <= self.config.num_hidden_layers:  # one more than there are layers
                cache.layers.append(DynamicLayer())
            kept, _ = cache.layers[-1].update(stream[:, None], stream[:, None, :, :0])  # [B, 1, S, D]
            if kept.shape[2] > stream.shape[1]:
                before = kept[:, 0, -stream.shape[1] - 1 : -1]
        gate = self.smear_scale * torch.sigmoid(self.smear_gate(stream[..., : self.smear_channels]))
        return stream + (gate * (position_ids > 0).unsqueeze(-1)).to(stream.dtype) * before


class SpeedrunForCausalLM(SpeedrunPreTrainedModel, GenerationMixin):
    """The network with its head: logits [B, T, V] of input_ids [B, T]."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: SpeedrunConfig) -> None:
        super().__init__(config)
        self.model = SpeedrunModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.lm_head.starts_at_zero = config.zero_init and not config.tie_word_embeddings
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        outputs = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache, **kwargs,
        )  # fmt: skip
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        if cap := self.config.final_logit_softcapping:
            logits = cap * torch.tanh(logits / cap)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )  # fmt: skip

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> nn.Module:
        """As in transformers; value embeddings of new tokens start at the mean of the old ones."""
        found = super().resize_token_embeddings(new_num_tokens, *args, **kwargs)
        size = found.weight.shape[0]
        for name, table in self.model.value_tables.items():
            old = table.weight
            if size != old.shape[0]:
                grown = nn.Embedding(size, old.shape[1], device=old.device, dtype=old.dtype)
                with torch.no_grad():
                    grown.weight[:] = old.mean(0)
                    grown.weight[: old.shape[0]] = old[:size]
                self.model.value_tables[name] = grown
        return found


class SpeedrunForSequenceClassification(GenericForSequenceClassification, SpeedrunPreTrainedModel):
    """The network with a head of labels on the last token."""


SpeedrunConfig.register_for_auto_class()
AutoConfig.register(SpeedrunConfig.model_type, SpeedrunConfig, exist_ok=True)
for auto, network in (
    (AutoModel, SpeedrunModel),
    (AutoModelForCausalLM, SpeedrunForCausalLM),
    (AutoModelForSequenceClassification, SpeedrunForSequenceClassification),
):
    network.register_for_auto_class(auto.__name__)
    auto.register(SpeedrunConfig, network, exist_ok=True)
