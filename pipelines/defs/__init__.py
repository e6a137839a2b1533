"""Definitions that `dg` finds by itself: a folder with a defs.yaml each, or Python files."""
