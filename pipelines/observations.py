"""How far a running stage is, in the metadata of its asset: an observation each half minute.

Metadata of a materialization is there when the stage has ended. Dagster gives an observation of an asset the same
place, with curves over time, and it does not count as new data.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from llm_core.formats.names import words
from llm_core.runtime.progress import duration


def observe(context: dg.AssetExecutionContext | dg.OpExecutionContext, state: Mapping[str, Any]) -> None:
    """Record the `state` of a stage's work, as `llm_core.runtime.progress` reports it; nothing outside an asset."""
    if not context.has_assets_def:
        return
    partition = context.partition_key if context.has_partition_key else None
    for key in context.selected_asset_keys:
        context.log_event(
            dg.AssetObservation(key, description=state["description"], metadata=shown(state), partition=partition)
        )


def shown(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state by names for people; figures that are numbers as numbers, so that Dagster draws their curves."""
    found: dict[str, Any] = {f"{state['unit']} done": float(state["done"])}
    if state["total"]:
        found["share done"] = round(state["done"] / state["total"], 4)
    found[f"{state['unit']} a second"] = round(state["rate"], 2)
    if state["seconds_left"] is not None:
        found["time left"] = duration(state["seconds_left"])
    return found | {words(name).replace("/", ", "): _number(value) for name, value in state["figures"].items()}


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
