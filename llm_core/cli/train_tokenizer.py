"""`llm-core train-tokenizer`: a byte-level BPE from documents."""

from pathlib import Path

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, read_params, verb_app

app = verb_app()


@app.command()
def train_tokenizer(
    inputs: In, out: Out, params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None
) -> None:
    """Train a byte-level BPE tokenizer on the documents; writes a Hugging Face tokenizer folder and metrics.json."""
    from llm_core.tokenization.training import stage

    params = read_params(params_file, overrides)
    stage.train_tokenizer(expand_sources(inputs, params), out, params.tokenizer, params.seed)
