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
    """Stretched length over original length."""
    original_max_position_embeddings: int | None = None
    """Positions before stretching; needed by dynamic, yarn and llama3."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths above original / this are divided by `factor`."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths below original / this are left alone."""


class Model(Section):
    """Which model is trained from scratch. What is null is derived from `scale` (llm_core/models/scale.py)."""

    family: str = "llama"
    """Architecture: causal (llama, gpt2, gptj, bloom, opt, lstm), masked (bert), encoder-decoder (t5), or a plugin's
    (entry points of the group llm_core.model_families)."""
    scale: int = Field(4, ge=1, le=128)
    """The one dial: depth. Width, heads, batch, learning rate and horizon follow where they are null."""
    layers: int | None = Field(None, ge=1)
    """Blocks; of each of encoder and decoder in t5."""
    width: int | None = Field(None, ge=8)
    """Width of the residual stream (d_model)."""
    heads: int | None = Field(None, ge=1)
    """Attention heads; width must be a multiple."""
    key_value_heads: int | None = Field(None, ge=1)
    """Grouped-query attention (llama): heads must be a multiple; null for one a head."""
    feed_forward: int | None = Field(None, ge=8)
    """Width of the feed-forward layer."""
    tie_embeddings: bool = True
    """Whether the head is the token embedding transposed."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of activations dropped in training; 0 for a corpus seen about once."""
    positions: int | None = Field(None, ge=8)
    """Longest context the model has positions for; null for pretraining.sequence_length."""
    rope_theta: float = Field(10_000.0, gt=0)
    """Base of the rotary wavelengths (llama, gptj)."""
    rope_scaling: RopeScaling = RopeScaling()
    """Rotary positions for longer contexts (llama)."""
    sliding_window: int | None = Field(None, ge=1)
    """Attend to this many last tokens only (llama; exported as the same architecture under its name Mistral)."""
    attention: Literal["auto", "sdpa", "blocked", "eager", "flash_attention_2", "flex_attention"] = "auto"
    """Attention kernel. blocked: ours for CPUs, 2.5 times as fast as sdpa in bf16 there; auto picks it on a CPU for
    sequences up to 4,096 tokens, else sdpa. The last two want a GPU."""

    @field_validator("family")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in (known := families()):
            raise ValueError(f"no model family '{name}' (there are {', '.join(known)})")
        return name
