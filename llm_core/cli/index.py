"""`llm-core index`: documents become a searchable index."""

from pathlib import Path

from llm_core.cli.options import In, Out, Overrides, ParamsFile, Takedowns, read_params, verb_app

app = verb_app()


@app.command()
def index(
    inputs: In,
    out: Out,
    tombstones: Takedowns = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Index documents for `search` and `ask`. Run again, it embeds only passages that it has not seen."""
    from llm_core.corpus.takedowns import chosen_file
    from llm_core.retrieval.index import build

    params = read_params(params_file, overrides)
    build(inputs, out, params.retrieval, chosen_file(tombstones), launch=params.launch.index)
