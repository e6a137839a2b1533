"""Params of the scaling ladder."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from llm_core.params.base import Section, overrides_of
from llm_core.params.model import Model
from llm_core.params.pretraining import Pretraining


class Rung(Section):
    """One small training of the ladder."""

    tokens: int = Field(ge=1)
    """Number of training tokens; rounded to whole steps."""
    model: Annotated[dict[str, Any], overrides_of(Model)] = Field(default_factory=dict)
    """Overrides of the section `model`, e.g. {layers: 2, width: 64}."""


class Scaling(Section):
    """Knobs of `llm-core scaling`, off the default graph."""

    rungs: dict[str, Rung] = Field(default_factory=dict)
    """The trainings, by name: several sizes, each with several amounts of data."""
    pretraining: Annotated[dict[str, Any], overrides_of(Pretraining)] = Field(default_factory=dict)
    """Overrides of the section `pretraining` for every rung, e.g. {batch_tokens: 4096}."""
    check: str | None = None
    """A rung that is predicted from all the others, as a test of the laws; null takes the one of most compute."""
    compute_budget: float = Field(1e15, gt=0)
    """Compute in FLOP (6 x parameters x tokens) for which a size and an amount of data are recommended."""
    bootstrap: int = Field(200, ge=10)
    """Number of bootstrap resamples of the rungs for each interval."""
    confidence: float = Field(0.9, gt=0, lt=1)
    """Confidence level of the intervals."""

    @model_validator(mode="after")
    def _checked_rung_is_there(self) -> Self:
        if self.check is not None and self.check not in self.rungs:
            raise ValueError(f"check names the rung {self.check!r} (there are {', '.join(self.rungs) or 'none'})")
        return self
