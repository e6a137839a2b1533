"""`llm-core decontaminate`: drop documents that hold benchmark items."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, option, read_params, verb_app

app = verb_app()


@app.command()
def decontaminate(
    inputs: In,
    out: Out,
    benchmarks: Annotated[
        list[str], option("--benchmarks", "Or a file: JSONL, or plain text with one item a line. Repeatable.")
    ],
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Drop documents that overlap with the items of benchmarks; the ledger names benchmark and item.

    touched_items.jsonl lists every item that shares an n-gram with a document, and how much
    of it was found, so that scores can be reported with and without them.
    """
    from llm_core.runtime.memory import return_what_is_freed
    from llm_core.runtime.without_pandas import without_pandas

    return_what_is_freed()
    params = read_params(params_file, overrides)
    paths, launch = expand_sources(inputs, params), params.launch.decontamination
    with without_pandas(launch.runner):
        from llm_core.corpus.decontamination.stage import decontaminate as run

        run(paths, benchmarks, out, params.decontamination, params.shards.bytes, launch)
