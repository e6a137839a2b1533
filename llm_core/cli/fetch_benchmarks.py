"""`llm-core fetch-benchmarks`: items of real benchmarks, pinned by hash."""

from pathlib import Path

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def fetch_benchmarks(out: Out, params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None) -> None:
    """Fetch the items of the benchmarks in evaluation.benchmarks.tasks; manifest.json names licences and hashes."""
    from llm_core.evaluation.items import fetch_benchmarks as run

    params = read_params(params_file, overrides)
    run(params.evaluation.benchmarks, params.network, out, params.open_models)
