"""Params of Word2Vec."""

from pydantic import Field

from llm_core.params.base import Section


class Word2Vec(Section):
    """How word vectors are trained (Mikolov et al. 2013), by CBOW and by skip-gram alike."""

    dimensions: int = Field(100, ge=2)
    """Length of a vector; token vectors take model.width instead."""
    window: int = Field(5, ge=1)
    """Maximum distance in words between a word and its context."""
    min_count: int = Field(5, ge=1)
    """Minimum number of occurrences of a word; rarer words have no vector."""
    max_vocabulary: int | None = Field(None, ge=2)
    """Maximum number of words with a vector, the most frequent ones; it bounds memory on a large corpus."""
    negative: int = Field(5, ge=1)
    """Number of negative samples: words drawn at random against each true context."""
    subsample: float = Field(1e-3, ge=0)
    """Frequency above which a word's occurrences are thinned out; 0 keeps all."""
    epochs: int = Field(5, ge=1)
    """Number of passes over the corpus."""
    workers: int = Field(1, ge=1)
    """Number of threads; with more than one the vectors differ a little from run to run (lock-free updates)."""
    neighbours_of: list[str] = Field(default_factory=lambda: ["water", "time", "people", "house", "year"])
    """Words whose nearest neighbours are written into neighbours.json."""
    neighbours: int = Field(8, ge=1)
    """Number of nearest neighbours that are written for each word of `neighbours_of`."""
