"""`llm-core clean`: the configured sequence of cleaning steps."""

from pathlib import Path

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, read_params, verb_app

app = verb_app()


@app.command()
def clean(
    inputs: In,
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Run `cleaning.steps` over documents; write what was kept, the ledger, samples of drops and metrics.json."""
    from llm_core.corpus.cleaning.stage import clean as run

    params = read_params(params_file, overrides)
    run(
        expand_sources(inputs, params),
        out,
        params.cleaning,
        sources=list(params.sources),
        launch=params.launch.cleaning,
    )
