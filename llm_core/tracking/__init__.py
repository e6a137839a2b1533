"""MLflow runs and registry, and the DVC experiment around a run."""
