"""Params of the model: family and size."""

from typing import Any, Literal

from pydantic import Field, field_validator

from llm_core.params.base import Section
from llm_core.params.plugins import discover

PACKAGE, GROUP = "llm_core.models.families", "llm_core.model_families"


def families() -> dict[str, Any]:
    """Name -> `llm_core.models.family.Family`, of every family that there is."""
    return discover(PACKAGE, "FAMILY", GROUP)


class RopeScaling(Section):
    """How rotary positions are stretched for contexts longer than those trained on (llama)."""

    rope_type: Literal["default", "linear", "dynamic", "yarn", "llama3"] = "default"
    """The rule, by its name in transformers."""
    factor: float = Field(1.0, ge=1)
    """Ratio of the stretched length to the original length."""
    original_max_position_embeddings: int | None = None
    """Number of positions before stretching; needed by dynamic, yarn and llama3."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths above original_max_position_embeddings / low_freq_factor are divided by `factor`."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths below original_max_position_embeddings / high_freq_factor stay as they are."""


class Speedrun(Section):
    """Switches of the family speedrun, which is llama with all of them off (llm_core/models/speedrun.py has their
    sources). `logit_softcap`, `sliding_window` and `tie_embeddings` of `model` are further ones."""

    embedding_norm: bool = True
    """Whether token embeddings are normalised."""
    value_embeddings: bool = True
    """Whether, in every second layer, each token adds a learnt vector of its own to its attention values."""
    residual_scalars: bool = True
    """Whether each layer reads a learnt multiple of the residual stream and of the first embeddings."""
    relu_squared: bool = True
    """Whether the feed-forward layer is ReLU squared without a gate (4 times the width, where model.feed_forward is
    null), in place of SwiGLU."""
    qk_norm: bool = True
    """Whether queries and keys are normalised in each head."""
    smear: bool = True
    """Whether each token's embedding gets a learnt share of the one before it."""
    zero_init: bool = True
    """Whether the projections into the residual stream, and an untied head, start at zero."""
    window_pattern: str = Field("SSSL", pattern="^[SL]+$")
    """With model.sliding_window: which layers have the window (S) and which see all tokens (L), repeated over the
    layers; the last layer sees all."""


class Model(Section):
    """Which model is trained from scratch. What is null is derived from `scale` (llm_core/models/scale.py)."""

    family: str = "llama"
    """Architecture: causal (llama, qwen3, olmo2, olmo3, gemma3, smollm3, phi3, phi, gpt2, gptj, bloom, opt, lstm, rnn,
    and speedrun, which is our own), masked (bert, roberta, modernbert), encoder-decoder (t5, and transformer, that of
    2017), or a plugin's (entry points of the group llm_core.model_families)."""
    scale: int = Field(4, ge=1, le=128)
    """Depth, from which width, heads, batch size, learning rate and number of steps follow where they are null."""
    layers: int | None = Field(None, ge=1)
    """Number of blocks; in t5 and transformer, of the encoder and of the decoder each."""
    width: int | None = Field(None, ge=8)
    """Width of the residual stream (d_model)."""
    heads: int | None = Field(None, ge=1)
    """Number of attention heads; width must be a multiple of it."""
    key_value_heads: int | None = Field(None, ge=1)
    """Number of key-value heads for grouped-query attention (llama and its descendants); heads must be a
    multiple of it. null gives each head its own."""
    feed_forward: int | None = Field(None, ge=8)
    """Width of the feed-forward layer."""
    tie_embeddings: bool = True
    """Whether the output head shares the weights of the token embedding."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability that an activation is dropped in training; 0 for a corpus that is seen about once."""
    positions: int | None = Field(None, ge=8)
    """Maximum context length in tokens; null takes pretraining.sequence_length."""
    rope_theta: float = Field(10_000.0, gt=0)
    """Base of the rotary wavelengths (llama and its descendants)."""
    rope_scaling: RopeScaling = RopeScaling()
    """Rotary positions for longer contexts (llama, qwen3, olmo2, olmo3, gemma3, smollm3, speedrun)."""
    sliding_window: int | None = Field(None, ge=1)
    """Number of preceding tokens that a token attends to; null for all. In every layer of llama (which is then exported
    as Mistral, the same architecture), qwen3 and phi3; in the layers of olmo3, gemma3, modernbert and speedrun that
    have one."""
    logit_softcap: float | None = Field(None, gt=0)
    """Maximum size of a logit, which a hyperbolic tangent approaches (gemma3, speedrun; Gemma 2 had 30); null caps
    nothing."""
    speedrun: Speedrun = Speedrun()
    """Switches of the family speedrun."""
    attention: Literal["auto", "sdpa", "blocked", "eager", "flash_attention_2", "flex_attention"] = "auto"
    """Attention kernel. blocked: ours for CPUs, 2.5 times as fast as sdpa in bf16 there; auto picks it on a CPU for
    sequences up to 4,096 tokens, else sdpa. The last two need a GPU."""

    @field_validator("family")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in (known := families()):
            raise ValueError(f"no model family '{name}' (there are {', '.join(known)})")
        return name
