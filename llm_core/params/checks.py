"""Params of the checks that stand between the stages."""

from pydantic import Field

from llm_core.params.base import Section


class Checks(Section):
    """Thresholds; a check that fails stops what is below it and says what to do."""

    retention_min: float = Field(0.2, ge=0, le=1)
    """Minimum share of a source's text, in bytes, that cleaning must keep."""
    retention_min_by_source: dict[str, float] = Field(default_factory=dict)
    """Other minimum shares, by source; a web crawl keeps far less than a book."""
    length_drift_max: float = Field(0.3, ge=0)
    """Maximum relative change of the median document length against the last accepted version."""
    language_drift_max: float = Field(0.1, ge=0, le=1)
    """Maximum change of any language's share of documents against the last accepted version."""
    accepted: list[str] = Field(default_factory=list)
    """Data versions (hashes of dvc.lock) whose drift somebody has looked at and accepted."""
    contamination_max: float = Field(0.1, ge=0, le=1)
    """Maximum share of a source's documents that overlap with benchmark items."""
    false_positives_max: float = Field(0.1, ge=0, le=1)
    """Maximum share of the near-duplicates dropped that are not alike, in a sample."""
    similarity_min: float = Field(0.5, ge=0, le=1)
    """5-gram Jaccard similarity below which two documents are not alike."""
    sample: int = Field(200, ge=1)
    """Documents looked at where a check reads text: the round trip, the duplicates."""
    loss_margin: float = Field(0.1, ge=0)
    """How far (nats per token) a model's held-out loss may lie above the best accepted one."""
