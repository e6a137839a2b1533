"""Params of the mix."""

from pydantic import Field

from llm_core.params.base import Section, Weights


class Mix(Section):
    """How much of each source is in the mix (`llm-core mix`)."""

    weights: Weights = Field(default_factory=dict)
    """Source to its weight in the mix; sources not named are left out. Empty: by size and `temperature`."""
    temperature: float = Field(1.0, gt=0)
    """Without weights: share goes with size to the power of 1 / temperature (1: as it comes)."""
    max_epochs: float = Field(4.0, gt=0)
    """Maximum number of passes over one source."""
    total: int | None = Field(None, gt=0)
    """Size of the mix in bytes (tokens, where a tokenizer is given); as much as there is, if not given."""
