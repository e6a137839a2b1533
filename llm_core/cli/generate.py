"""`llm-core generate`: text from a model."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def generate(
    model: Annotated[Path, option("--model", "It must be a language model: a decoder, or an encoder-decoder.")],
    prompt: Annotated[
        list[str], typer.Option("--prompt", help="Text to continue, or, for an encoder-decoder, to read. Repeatable.")
    ],
    max_new_tokens: Annotated[int, option("--max-new-tokens", min=1)] = 100,
    temperature: Annotated[float, option("--temperature", min=0)] = 0.8,
    top_k: Annotated[
        int, typer.Option("--top-k", min=1, help="Number of likeliest tokens among which the next is drawn.")
    ] = 50,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Continue a prompt with a pretrained model; the seed of params.yaml makes it repeatable."""
    from llm_core.models.loading import load
    from llm_core.training.pretraining.samples import sample

    seed = read_params(params_file, overrides).seed
    loaded = load(model)
    for text in sample(
        loaded.network,
        loaded.tokenizer,
        prompt,
        new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    ):
        say(text)
