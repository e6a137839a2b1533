"""The code location: `dagster dev -w workspace.yaml`, `dg dev` and `dg check defs` load this."""

import gc
from pathlib import Path

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

gc.freeze()  # Dagster's imports are permanent: collecting garbage among them took a fifth of the loading time


@dg.definitions
def defs() -> dg.Definitions:
    """Everything below `pipelines/defs/`: one component over dvc.yaml, and the user's own definitions."""
    tree = dg.ComponentTree.for_project(Path(__file__).parent)
    if DefinitionsLoadContext.get().load_type == DefinitionsLoadType.RECONSTRUCTION:
        return tree.build_defs(
            Path()
        )  # a run's worker: without the documentation of component types, which only the UI shows
    return tree.build_defs()
