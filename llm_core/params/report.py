"""Params of the report."""

from pydantic import Field

from llm_core.params.base import Section


class Report(Section):
    """What the report adds to what was measured."""

    price_per_hour: float = Field(0.0, ge=0)
    """Price of one hour of this machine; 0 leaves costs out of the report."""
    currency: str = "EUR"
    """Currency of the price."""
    watts: float = Field(0.0, ge=0)
    """Mean power of the whole machine under load in watts, GPUs included; energy is then estimated from wall time."""
    watts_per_core: float = Field(10.0, ge=0)
    """Power of one busy CPU core in watts; where `watts` is 0, energy is estimated from it and CPU time (server and
    laptop cores take 5 to 15 W)."""
