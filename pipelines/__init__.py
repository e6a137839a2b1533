"""The Dagster code location: assets built from dvc.yaml. Thin; the work is in `llm_core`."""
