"""Params of deduplication."""

from llm_core.params.base import Section


class Deduplication(Section):
    """Knobs of deduplication."""
