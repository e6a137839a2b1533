"""`llm-core inputs`: digests of the local files that params.yaml names and no stage makes."""

from pathlib import Path

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError

app = verb_app()


@app.command()
def inputs(out: Out, params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None) -> None:
    """Write a JSON file of digests for each section of params.yaml that names local files.

    Stages that read those files depend on it, so that `dvc repro` notices an added or changed file at an unchanged
    path: a `files` source's content, a parent model, a quality model, lists of addresses and words. As it runs first,
    it also refuses a benchmark that is scored and not fetched, which would stop the graph after the training.
    """
    from llm_core.params.external import write_digests
    from llm_core.runtime.storage import output_folder

    params = read_params(params_file, overrides)
    fetched = [*params.evaluation.benchmarks.own, *params.evaluation.benchmarks.tasks]
    if missing := [name for name in params.evaluation.tasks if name not in fetched]:
        raise UserError(
            f"evaluation.tasks: '{missing[0]}' is not fetched; name it in evaluation.benchmarks.tasks, or in "
            f"evaluation.benchmarks.own with its file, or leave it out (fetched are {', '.join(fetched) or 'none'})"
        )
    with output_folder(out) as folder:
        write_digests(params, folder)
