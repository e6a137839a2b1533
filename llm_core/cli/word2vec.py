"""`llm-core word2vec`: vectors of the corpus's words."""

from pathlib import Path

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, read_params, verb_app
from llm_core.runtime.terminal import say_json

app = verb_app()


@app.command()
def word2vec(
    inputs: In,
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Train Word2Vec by CBOW and by skip-gram; writes vectors, neighbours, analogy accuracy and a plot."""
    from llm_core.retrieval.embeddings.word2vec import word2vec as run

    params = read_params(params_file, overrides)
    metrics = run(expand_sources(inputs, params), out, params)
    summary = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
    for name in ("cbow", "skipgram"):
        summary[name] = {"analogies": metrics[name]["analogies"]["all"], "wordsim353": metrics[name]["wordsim353"]}
    say_json(summary, indent=2)
