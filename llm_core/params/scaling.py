"""Params of the scaling ladder."""

from typing import Any

from pydantic import Field

from llm_core.params.base import Section


class Rung(Section):
    """One small training of the ladder."""

    tokens: int = Field(ge=1)
    """Training tokens; rounded to whole steps."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the section `model`, e.g. {layers: 2, width: 64}."""


class Scaling(Section):
    """Knobs of `llm-core scaling`, off the default graph."""

    rungs: dict[str, Rung] = Field(default_factory=dict)
    """The trainings, by name: several sizes, each with several amounts of data."""
    pretraining: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the section `pretraining` for every rung, e.g. {batch_tokens: 4096}."""
    check: str | None = None
    """A rung to predict from all the others, to see what the laws are worth; null for the one of most compute."""
    compute_budget: float = Field(1e15, gt=0)
    """FLOP (6 x parameters x tokens) to recommend a size and an amount of data for."""
    bootstrap: int = Field(200, ge=10)
    """Resamples of the rungs behind each interval."""
    confidence: float = Field(0.9, gt=0, lt=1)
    """Share of the resamples that an interval holds."""
