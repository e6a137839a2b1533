"""Params of the tokenizer."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llm_core.params.base import Section, Weights

TRAINED = "data/split/train"
TRAINING = ("vocab_size", "digits", "whitespace")


class Tokenizer(Section):
    """Knobs of the tokenizer: trained on the corpus, or a model's own, unchanged."""

    from_: str = Field(TRAINED, alias="from", min_length=1)
    """data/split/train trains a byte-level BPE on these documents. A folder that holds a tokenizer takes that one
    unchanged: data/models/NAME for a model of `open_models`, or any folder in the Hugging Face layout."""
    add_tokens: list[str] = Field(default_factory=list)
    """Special tokens to add to a tokenizer that is taken; `pretraining.grow_vocabulary` gives them embeddings."""

    vocab_size: int = Field(4096, ge=262)
    """Number of tokens: 6 special ones, the 256 bytes, and merges; up to 65,536 the shards take 2 bytes a token."""
    digits: Literal[1, 2, 3] = 3
    """Maximum number of digits in one token: 3 as in GPT-4, 1 for arithmetic digit by digit (LLaMA)."""
    whitespace: Literal["runs", "single"] = "runs"
    """runs: a run of spaces may become one token, good for indented code (GPT-4); single: each extra space alone."""
    sample_bytes: int = Field(1 << 31, ge=1)
    """Maximum size of the text to train on, in UTF-8 bytes; whole documents are drawn at random where there is more. A
    takedown of a document that was not drawn keeps the tokenizer, and with it all but a few token shards."""
    weights: Weights = Field(default_factory=dict)
    """Relative share of each source in that sample; a source not named keeps the share of its bytes."""

    @model_validator(mode="after")
    def _training_or_taking(self) -> Self:
        if self.from_ == TRAINED:
            if self.add_tokens:
                raise ValueError(f"add_tokens needs 'from': a tokenizer that is taken, not trained on {TRAINED}")
            return self
        given = [name for name in TRAINING if name in self.model_fields_set]
        if given:
            raise ValueError(
                f"'from' takes the tokenizer of {self.from_} as it is, so remove {', '.join(given)}, "
                "which are for training"
            )
        return self
