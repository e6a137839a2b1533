"""MLflow runs and registry, and the DVC experiment around a run."""

from llm_core.tracking.experiments import EXPERIMENT
from llm_core.tracking.runs import Run, run
from llm_core.tracking.store import enabled, tracking_uri

__all__ = ["EXPERIMENT", "Run", "enabled", "run", "tracking_uri"]
