"""Params of the held-out split and of the mix."""

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


class Mixing(Section):
    """How much of each source is in the mix (`llm-core mix`)."""

    weights: dict[str, float] = Field(default_factory=dict)
    """Source to its weight in the mix; sources not named are left out. Empty: by size and `temperature`."""
    temperature: float = Field(1.0, gt=0)
    """Without weights: share goes with size to the power of 1 / temperature (1: as it comes)."""
    max_epochs: float = Field(4.0, gt=0)
    """Most passes over one source."""
    total: int | None = Field(None, gt=0)
    """Size of the mix in bytes (tokens, where a tokenizer is given); as much as there is, if not given."""
