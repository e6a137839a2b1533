"""`llm-core split`: hold out whole documents."""

from pathlib import Path

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, read_params, verb_app

app = verb_app()


@app.command()
def split(
    inputs: In,
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Split documents into train/ and heldout/: whole documents, a share of every source.

    Near-duplicates, and documents of one group (split.group_by), fall on one side.
    """
    from llm_core.runtime.memory import return_what_is_freed
    from llm_core.runtime.without_pandas import without_pandas

    return_what_is_freed()
    params = read_params(params_file, overrides)
    paths, known = expand_sources(inputs, params), list(params.sources)
    with without_pandas(params.launch.split.runner):
        from llm_core.corpus.split.stage import split as run

        run(paths, out, params.split, params.seed, params.shards.bytes, known, params.launch.split)
