"""Params of mixing."""

from llm_core.params.base import Section


class Split(Section):
    """Knobs of mixing."""
