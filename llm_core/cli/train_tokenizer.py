"""`llm-core train-tokenizer`: a byte-level BPE from documents, or a model's own tokenizer."""

from pathlib import Path

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, read_params, verb_app
from llm_core.params.tokenizer import TRAINED

app = verb_app()


@app.command()
def train_tokenizer(
    inputs: In, out: Out, params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None
) -> None:
    """Train a byte-level BPE tokenizer on the documents, or take the one that `tokenizer.from` names, unchanged.

    Writes a Hugging Face tokenizer folder and metrics.json: how well it fits a sample of the documents.
    """
    params = read_params(params_file, overrides)
    paths = expand_sources(inputs, params)
    launch = params.launch.tokenizer
    if params.tokenizer.from_ != TRAINED:
        from llm_core.tokenization.taking import take_tokenizer

        take_tokenizer(paths, out, params.tokenizer, params.seed, launch)
        return
    from llm_core.runtime.memory import return_what_is_freed
    from llm_core.runtime.without_pandas import without_pandas

    return_what_is_freed()
    with without_pandas(launch.runner):
        from llm_core.tokenization.training import stage

        stage.train_tokenizer(paths, out, params.tokenizer, params.seed, launch)
