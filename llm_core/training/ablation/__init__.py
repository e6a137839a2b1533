"""Tests whether a change of the data recipe improves models: control, treatment and negative control, several seeds."""
