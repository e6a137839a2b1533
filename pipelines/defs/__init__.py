"""Definitions that `dg` discovers: folders with a defs.yaml, or Python files."""
