"""Params of the checks between the stages."""

from pydantic import Field

from llm_core.params.base import Section


class Checks(Section):
    """Thresholds of the checks; a check that fails stops the stages after it and says what to do."""

    retention_min: float = Field(0.2, ge=0, le=1)
    """Minimum share of a source's text, in bytes, that cleaning must keep."""
    retention_min_by_source: dict[str, float] = Field(default_factory=dict)
    """Minimum shares of single sources, by name; a web crawl keeps far less than a book."""
    length_drift_max: float = Field(0.3, ge=0)
    """Maximum relative change of the median document length against the last accepted version."""
    language_drift_max: float = Field(0.1, ge=0, le=1)
    """Maximum change of any language's share of documents against the last accepted version."""
    accepted: list[str] = Field(default_factory=list)
    """Data versions (hashes in dvc.lock) whose drift a person has looked at and accepted."""
    contamination_max: float = Field(0.1, ge=0, le=1)
    """Maximum share of a source's documents that overlap with benchmark items."""
    false_positives_max: float = Field(0.1, ge=0, le=1)
    """Maximum share, in a sample of the dropped near-duplicates, of those that are not alike."""
    similarity_min: float = Field(0.5, ge=0, le=1)
    """5-gram Jaccard similarity below which two documents are not alike."""
    sample: int = Field(200, ge=1)
    """Number of documents that a check reads where it reads text (the tokenizer's round trip, the duplicates)."""
    loss_margin: float = Field(0.1, ge=0)
    """Maximum excess of a model's held-out loss over the best accepted one on the same tokens, in the loss's unit."""
