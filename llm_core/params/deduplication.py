"""Params of deduplication."""

from pydantic import Field

from llm_core.params.base import Section


class Deduplication(Section):
    """What counts as a duplicate, which of them is kept, and what the audit allows."""

    url: bool = False
    """Drop documents of the same URL, whatever their text; spelling and fragment of the URL do not count."""
    near: bool = True
    """Drop near-duplicates too, not only exact ones."""
    shingle: int = Field(5, ge=1)
    """Number of words in a shingle."""
    bands: int = Field(14, ge=1)
    """Number of MinHash bands; more bands find more pairs."""
    rows: int = Field(8, ge=1)
    """Number of hashes in a band; more hashes find fewer pairs, which are more alike."""
    threshold: float = Field(0.8, ge=0, le=1)
    """Minimum Jaccard similarity of the shingle sets of near-duplicates; every candidate pair is verified exactly."""
    priority: list[str] = Field(default_factory=list)
    """Sources whose copy is kept first, in this order; the others follow in the order of `sources`."""
    audit_sample: int = Field(500, ge=0)
    """Number of dropped documents whose similarity with the kept one is measured exactly."""
    max_false_positive_rate: float = Field(0.05, ge=0, le=1)
    """Maximum share of audited drops with a similarity below the threshold; above it the stage fails."""
    max_dropped_share: float = Field(0.6, ge=0, le=1)
    """Maximum share of a source's documents that may be dropped, takedowns not counted; above it the stage fails."""
    max_dropped_share_by_source: dict[str, float] = Field(default_factory=dict)
    """Maximum share for single sources; a second crawl of the same sites loses far more than a first."""
    keep_signatures: bool = False
    """Keep the signatures in the output (`signatures/`), so that a later run can go on from them (`--known`)."""
