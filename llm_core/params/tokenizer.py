"""Params of the tokenizer."""

from typing import Literal

from pydantic import Field

from llm_core.params.base import Section, Weights


class Tokenizer(Section):
    """Knobs of the byte-level BPE tokenizer and of encoding with it."""

    vocab_size: int = Field(4096, ge=262)
    """Tokens in all: 6 special ones, the 256 bytes, and merges; up to 65,536 the shards take 2 bytes a token."""
    digits: Literal[1, 2, 3] = 3
    """Maximum number of digits in one token: 3 as in GPT-4, 1 for arithmetic digit by digit (LLaMA)."""
    whitespace: Literal["runs", "single"] = "runs"
    """runs: a run of spaces may become one token, good for indented code (GPT-4); single: each extra space alone."""
    sample_bytes: int = Field(1 << 31, ge=1)
    """Maximum size of the text to train on, in UTF-8 bytes; whole documents are drawn at random where there is more. A
    takedown of a document that was not drawn keeps the tokenizer, and with it all but a few token shards."""
    weights: Weights = Field(default_factory=dict)
    """Relative share of each source in that sample; a source not named keeps the share of its bytes."""
