"""Scaling laws: a ladder of small models, fits of loss against size and data, and recommendations."""
