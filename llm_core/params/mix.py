"""Params of the mix."""

from pydantic import Field

from llm_core.params.base import Section, Weights


class Mix(Section):
    """How much of each source is in the mix (`llm-core mix`)."""

    weights: Weights = Field(default_factory=dict)
    """Source to its weight in the mix; a source that is not named is left out. Empty: the shares follow from the
    sources' sizes and `temperature`."""
    temperature: float = Field(1.0, gt=0)
    """Without weights, a source's share is proportional to size ** (1 / temperature); 1 keeps the proportions."""
    max_epochs: float = Field(4.0, gt=0)
    """Maximum number of passes over one source."""
    total: int | None = Field(None, gt=0)
    """Size of the mix in bytes (in tokens where a tokenizer is given); null takes as much as there is."""
