"""Params of evaluation."""

from llm_core.params.base import Section


class Evaluation(Section):
    """Knobs of evaluation."""
