"""The quality rules: one module each, found by `params/quality.py`; its class says everything that others need to know
about it.

A rule from another distribution needs an entry point of the group `llm_core.quality_rules` that loads its class.
"""
