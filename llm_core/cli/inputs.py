"""`llm-core inputs`: digests of the local files that params.yaml names and no stage makes."""

from pathlib import Path

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def inputs(out: Out, params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None) -> None:
    """Write a JSON file of digests for each section of params.yaml that names local files.

    Stages that read those files depend on it, so that `dvc repro` notices an added or changed file at an unchanged
    path: a `files` source's content, a parent model, a quality model, lists of addresses and words.
    """
    from llm_core.params.external import write_digests
    from llm_core.runtime.storage import output_folder

    params = read_params(params_file, overrides)
    with output_folder(out) as folder:
        write_digests(params, folder)
