"""`llm-core initialize-embeddings`: a model that starts from word vectors."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say_json

app = verb_app()


@app.command()
def initialize_embeddings(
    tokens: Annotated[Path, option("--tokens")],
    tokenizer: Annotated[Path, option("--tokenizer")],
    out: Out,
    algorithm: Annotated[str, typer.Option("--algorithm", help="cbow or skipgram.")] = "cbow",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Make an untrained model whose token vectors are Word2Vec's; train it by `--set pretraining.parent=OUT`."""
    from llm_core.retrieval.embeddings.initialize import initialize
    from llm_core.retrieval.embeddings.word2vec import ALGORITHMS

    if algorithm not in ALGORITHMS:
        raise UserError(f"--algorithm {algorithm}: choose one of {', '.join(ALGORITHMS)}")
    metrics = initialize(tokens, tokenizer, out, read_params(params_file, overrides), algorithm)
    say_json(metrics)
