"""Params of decontamination."""

from llm_core.params.base import Section


class Decontamination(Section):
    """Knobs of decontamination."""
