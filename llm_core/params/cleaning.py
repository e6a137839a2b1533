"""Params of cleaning."""

from llm_core.params.base import Section


class Cleaning(Section):
    """Knobs of cleaning."""
