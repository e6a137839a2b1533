"""Params of deduplication."""

from pydantic import Field

from llm_core.params.base import Section


class Deduplication(Section):
    """What counts as a duplicate, which of them is kept, and what the audit allows."""

    url: bool = False
    """Drop documents of the same URL (without fragment), whatever their text."""
    near: bool = True
    """Drop near-duplicates too, not only exact ones."""
    shingle: int = Field(5, ge=1)
    """Words in a shingle."""
    bands: int = Field(14, ge=1)
    """MinHash bands; more find more pairs."""
    rows: int = Field(8, ge=1)
    """Hashes in a band; more find fewer, more alike pairs."""
    threshold: float = Field(0.8, ge=0, le=1)
    """Least true Jaccard similarity of the shingle sets of near-duplicates; every pair is verified."""
    priority: list[str] = Field(default_factory=list)
    """Sources whose copy is kept first, in this order; the others follow in the order of `sources`."""
    audit_sample: int = Field(500, ge=0)
    """Dropped documents whose similarity with their survivor is measured exactly."""
    max_false_positive_rate: float = Field(0.05, ge=0, le=1)
    """Largest share of audited drops that may be less alike than the threshold; above it the stage fails."""
    max_dropped_share: float = Field(0.6, ge=0, le=1)
    """Largest share of any source's documents that may be dropped, takedowns apart; above it the stage fails."""
    max_dropped_share_by_source: dict[str, float] = Field(default_factory=dict)
    """Other largest shares, by source; a second crawl of the same sites loses far more than a first."""
    keep_signatures: bool = False
    """Keep the signatures in the output (`signatures/`), so that a later run can go on from them (`--known`)."""
