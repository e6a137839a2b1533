"""Params of ablations."""

from typing import Annotated, Any

from pydantic import Field

from llm_core.params.base import Section, overrides_of
from llm_core.params.model import Model
from llm_core.params.pretraining import Pretraining


class Ablation(Section):
    """Knobs of `llm-core ablate`, off the default graph."""

    seeds: int = Field(5, ge=2)
    """Number of trainings of each arm; all arms have the same seeds, so that differences are paired."""
    tokens: int = Field(131_072, ge=1)
    """Number of training tokens of each run, the same mixture of sources in all arms; rounded to whole steps."""
    model: Annotated[dict[str, Any], overrides_of(Model)] = Field(default_factory=dict)
    """Overrides of the section `model`, e.g. {layers: 2, width: 64}."""
    pretraining: Annotated[dict[str, Any], overrides_of(Pretraining)] = Field(default_factory=dict)
    """Overrides of the section `pretraining`, e.g. {batch_tokens: 4096}."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Confidence level of the intervals that the verdict rests on."""
