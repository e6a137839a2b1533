"""Params of the report."""

from pydantic import Field

from llm_core.params.base import Section


class Report(Section):
    """What the report adds to what was measured."""

    price_per_hour: float = Field(0.0, ge=0)
    """Money for one hour of this machine; 0 leaves money out."""
    currency: str = "EUR"
    watts: float = Field(0.0, ge=0)
    """Mean power of this machine under load, for the energy estimate; 0 leaves energy out."""
