"""Params of the held-out split."""

from pydantic import Field

from llm_core.params.base import Section


class Split(Section):
    """Which documents are held out."""

    heldout_share: float = Field(0.05, gt=0, lt=1)
    """Share of each source's bytes that is held out, reached by whole documents."""
    heldout_megabytes: float = Field(1.0, gt=0)
    """Never more than this of a source, however large it is."""
    group_by: dict[str, str] = Field(default_factory=dict)
    """Source to metadata field: documents that share its value fall on one side (factbook: country)."""
    similarity: float = Field(0.5, gt=0, le=1)
    """Documents at least so alike (Jaccard of 5-word shingles) fall on one side."""
