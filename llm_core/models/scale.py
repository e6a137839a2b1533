"""One dial: the shape of a model, its batch, learning rate and horizon, from its depth.

`model.scale` is the number of blocks. What params.yaml leaves null follows from it:

- width = 64 a block, heads of width 64: the aspect ratio of nanochat's `--depth`; Kaplan et al.
  (2020, arXiv:2001.08361, figure 5) find loss flat for width/depth from 30 to 100.
- feed-forward: 8/3 width, rounded up to 64, where it is gated (Shazeer 2020, arXiv:2002.05202), else 4 width.
- horizon: 20 tokens a parameter (Hoffmann et al. 2022, arXiv:2203.15556).
- batch and learning rate: the power laws in compute C (floating-point operations) of DeepSeek LLM
  (2024, arXiv:2401.02954, eq. 1): learning rate 0.3118 C^-0.125, batch 0.2920 C^0.3271 tokens.

The laws were fitted at 1e17 FLOP and above; below they are extrapolated. Every derived value can be set.
"""

import math
from dataclasses import dataclass

from llm_core.errors import UserError
from llm_core.models.family import family
from llm_core.params.model import Model

TOKENS_PER_PARAMETER = 20
HEAD_WIDTH = 64


@dataclass(frozen=True)
class Shape:
    """A model's resolved shape."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    feed_forward: int


def shape(model: Model) -> Shape:
    """The model's shape, derived where the params leave it open. Raises UserError when it does not divide."""
    layers = model.layers or model.scale
    width = model.width or HEAD_WIDTH * model.scale
    heads = model.heads or max(width // HEAD_WIDTH, 1)
    key_value_heads = model.key_value_heads or heads
    if width % heads or (width // heads) % 2:
        raise UserError(f"model.width {width} must be an even multiple of model.heads {heads}")
    if heads % key_value_heads:
        raise UserError(f"model.heads {heads} must be a multiple of model.key_value_heads {key_value_heads}")
    wide = math.ceil(8 * width / 3 / 64) * 64 if family(model.family).gated else 4 * width
    return Shape(layers, width, heads, key_value_heads, model.feed_forward or wide)


@dataclass(frozen=True)
class Horizon:
    """How long and how fast to train."""

    tokens: int
    batch_tokens: int
    learning_rate: float


def horizon(parameters: int, sequence_length: int, multiple_of: int = 1) -> Horizon:
    """Tokens in all, tokens a step and peak learning rate for a model of `parameters` parameters (without
    embeddings that only look up).

    The batch is a whole number of `multiple_of` sequences.
    """
    tokens = TOKENS_PER_PARAMETER * parameters
    compute = 6 * parameters * tokens
    sequences = 0.2920 * compute**0.3271 / sequence_length / multiple_of
    batch = max(round(sequences), 1) * multiple_of * sequence_length
    return Horizon(tokens, batch, round(0.3118 * compute**-0.125, 6))
