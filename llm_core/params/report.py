"""Params of the report."""

from pydantic import Field

from llm_core.params.base import Section


class Report(Section):
    """What the report adds to what was measured."""

    price_per_hour: float = Field(0.0, ge=0)
    """Money for one hour of this machine; 0 leaves money out."""
    currency: str = "EUR"
    watts: float = Field(0.0, ge=0)
    """Mean power of the whole machine under load, GPUs too; with it, energy is estimated by the clock."""
    watts_per_core: float = Field(10.0, ge=0)
    """Power of one busy CPU core; used with CPU time where `watts` is 0 (server and laptop cores take 5 to 15 W)."""
