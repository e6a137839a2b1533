"""What every section of params.yaml has in common."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


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


def overrides_of(section: type[Section]) -> AfterValidator:
    """A check that a mapping overrides params that `section` has: an unknown key, or a value of a wrong type."""

    def check(values: dict[str, Any]) -> dict[str, Any]:
        try:
            section.model_validate(values)
        except ValidationError as error:
            wrong = [item for item in error.errors() if item["loc"]]  # a rule across params has none
            unknown = [".".join(map(str, item["loc"])) for item in wrong if item["type"] == "extra_forbidden"]
            if unknown:
                there = ", ".join(section.model_fields)
                raise ValueError(f"no such param: {', '.join(unknown)} (there are {there})") from None
            if wrong:
                raise ValueError(f"{'.'.join(map(str, wrong[0]['loc']))}: {wrong[0]['msg']}") from None
        return values

    return AfterValidator(check)


Weights = Annotated[dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], AfterValidator(_some_weight)]
"""Source to its relative weight: finite, not negative, not all of them 0."""
