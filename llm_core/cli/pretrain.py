"""`llm-core pretrain`: a language model from token shards."""

import sys
from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, repeated, verb_app

app = verb_app()


@app.command()
def pretrain(
    tokens: Annotated[Path, option("--tokens")],
    tokenizer: Annotated[Path, option("--tokenizer")],
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Train a language model with DeepSpeed ZeRO; a killed run goes on from its last checkpoint."""
    from llm_core.training.pretraining.stage import pretrain as run

    params = read_params(params_file, overrides)
    arguments = ["pretrain", "--tokens", str(tokens), "--tokenizer", str(tokenizer), "--out", str(out)]
    code = run(params, tokens, tokenizer, out, arguments + repeated(params_file, overrides))
    if code:
        sys.exit(1)
