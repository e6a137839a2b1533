"""`llm-core mix`: weights per source."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, verb_app

app = verb_app()


@app.command()
def mix(
    source: Annotated[Path, option("--in", "the folder that `llm-core split` wrote.")],
    out: Out,
    tokenizer: Annotated[Path | None, option("--tokenizer", "Sizes are counted in its tokens, not in bytes.")] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Mix the training documents by source: weights or temperature, epochs capped, seeded, exact to the document.

    The output is a split again (train/, heldout/); metrics.json holds the table of what the mix is.
    """
    from llm_core.runtime.memory import return_what_is_freed
    from llm_core.runtime.without_pandas import without_pandas

    return_what_is_freed()
    params = read_params(params_file, overrides)
    with without_pandas(params.launch.mix.runner):
        from llm_core.corpus.mix.stage import mix as run

        run(source, out, params.mix, params.seed, tokenizer, params.shards.bytes, params.launch.mix)
