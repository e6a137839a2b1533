"""From web-scale text to an evaluated language model: the library and the command line.

`llm_core` knows neither Dagster nor DVC. Every stage is a function from input
paths and typed params to output paths and metrics; `llm_core.cli` gives each a verb.
"""

__version__ = "0.1.0"
