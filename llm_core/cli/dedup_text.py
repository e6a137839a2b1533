"""`llm-core dedup-text`: take repeated pieces of text out of documents."""

from pathlib import Path

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, read_params, verb_app

app = verb_app()


@app.command()
def dedup_text(
    inputs: In, out: Out, params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None
) -> None:
    """Take out paragraphs, lines or substrings (`text_deduplication.unit`) that another document holds too.

    One document keeps each: of the first source, then the longest. The ledger names it, and the share that
    was taken out. A document of which nothing is left is dropped.
    """
    from llm_core.runtime.memory import return_what_is_freed

    return_what_is_freed()
    from llm_core.corpus.deduplication.text.stage import dedup_text as run

    params = read_params(params_file, overrides)
    paths = expand_sources(inputs, params)
    priority = [*params.deduplication.priority, *params.sources]
    run(
        paths,
        out,
        params.text_deduplication,
        params.seed,
        priority,
        params.shards.bytes,
        params.launch.text_deduplication,
    )
