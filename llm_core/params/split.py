"""Params of the held-out split."""

from pydantic import Field

from llm_core.params.base import Section


class Split(Section):
    """Which documents are held out."""

    heldout_share: float = Field(0.05, gt=0, lt=1)
    """Share of each source's bytes that is held out, reached by whole documents."""
    heldout_megabytes: float = Field(1.0, gt=0)
    """Maximum amount of text that is held out of one source, in megabytes (10^6 bytes)."""
    group_by: dict[str, str] = Field(default_factory=dict)
    """Source to a metadata field; documents with one value in it are on one side of the split (factbook: country)."""
    similarity: float = Field(0.5, gt=0, le=1)
    """Minimum Jaccard similarity (5-word shingles) of two documents that must be on one side of the split."""
