"""`python -m llm_core.cli VERB`, the same as `llm-core VERB`."""

from llm_core.cli import main

main()
