"""Params of decontamination."""

from pydantic import Field

from llm_core.params.base import Section


class Decontamination(Section):
    """When a document counts as contaminated by a benchmark."""

    ngram: int = Field(13, ge=3)
    """Number of words in an n-gram that is compared (13 as for GPT-3, Brown et al. 2020)."""
    min_words: int = Field(8, ge=1)
    """Minimum number of words of an item. One with fewer words than `ngram` is matched as a whole; one with fewer than
    `min_words` is not matched."""
    threshold: float = Field(0.3, gt=0, le=1)
    """Minimum share of an item's n-grams that a document must contain to be dropped."""
    common: int = Field(8, ge=1)
    """Maximum number of items that share an n-gram; one that occurs in more is boilerplate and does not count."""
