"""What every section of params.yaml has in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A section of params.yaml: unknown keys are errors, values are checked, nothing changes later. No number is NaN.

    Every field carries its meaning in the docstring below it; `llm-core params` prints them.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, serialize_by_alias=True
    )


def _some_weight(weights: dict[str, float]) -> dict[str, float]:
    if weights and not any(weights.values()):
        raise ValueError("all weights are 0, so nothing would be chosen; give one source a weight above 0")
    return weights


Weights = Annotated[dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], AfterValidator(_some_weight)]
"""Source to its relative weight: finite, not negative, not all of them 0."""
