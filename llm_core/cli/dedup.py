"""`llm-core dedup`: drop duplicates across corpora."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import In, Out, Overrides, ParamsFile, Takedowns, expand_sources, read_params, verb_app

app = verb_app()


@app.command()
def dedup(
    inputs: In,
    out: Out,
    tombstones: Takedowns = None,
    known: Annotated[
        Path | None, typer.Option(help="Folder `signatures` of an earlier run: drop what it has seen already.")
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Drop exact and near duplicates (MinHash, every pair verified), and what a tombstone names.

    The ledger names cluster and survivor of every document dropped. Which document is kept
    does not depend on files, order or workers: first by source priority, then the longest.
    """
    from llm_core.runtime.memory import return_what_is_freed
    from llm_core.runtime.without_pandas import without_pandas

    return_what_is_freed()
    params = read_params(params_file, overrides)
    with without_pandas(params.launch.deduplication.runner):
        from llm_core.corpus.deduplication.stage import dedup as run
        from llm_core.corpus.takedowns import chosen_file

        file = chosen_file(tombstones)
        paths = expand_sources(inputs, params)
        order, size = list(params.sources), params.shards.bytes
        run(paths, out, params.deduplication, params.seed, order, file, known, size, params.launch.deduplication)
