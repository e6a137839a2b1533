"""Params of decontamination."""

from pydantic import Field

from llm_core.params.base import Section


class Decontamination(Section):
    """When a document has seen a benchmark."""

    ngram: int = Field(13, ge=3)
    """Words in a run that counts as overlap (13: GPT-3, Brown et al. 2020)."""
    min_words: int = Field(8, ge=1)
    """Items of fewer words than `ngram` are matched whole, if they have at least so many; shorter ones cannot be."""
    threshold: float = Field(0.3, gt=0, le=1)
    """Minimum share of an item's n-grams that a document must contain to be dropped."""
    common: int = Field(8, ge=1)
    """An n-gram that stands in more items than this is boilerplate and does not count."""
