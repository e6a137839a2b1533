"""The code location: `dagster dev -w workspace.yaml`, `dg dev` and `dg check defs` load this."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Everything below `pipelines/defs/`: one component over dvc.yaml, and what a user adds."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
