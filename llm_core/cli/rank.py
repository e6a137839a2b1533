"""`llm-core rank`: preferences by a person or a reward model."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def rank(
    model: Annotated[Path, option("--model", "It writes the answers.")],
    prompts: Annotated[
        Path, typer.Option("--prompts", help="File of JSON lines with `prompt`, `question` or `messages`.")
    ],
    out_file: Annotated[Path, option("--out-file", "JSON lines `prompt, chosen, rejected`; a ranking goes on in it.")],
    judge: Annotated[Path | None, option("--judge", "A reward model; without it, you judge.")] = None,
    limit: Annotated[int | None, option("--limit", min=1)] = None,
    temperature: Annotated[float, option("--temperature", min=0.01)] = 1.0,
    max_new_tokens: Annotated[int, option("--max-new-tokens", "It limits one answer.", min=1)] = 64,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Sample two answers to each prompt and write which one is better: rows for the methods reward and dpo."""
    from llm_core.models.generation import Decoding
    from llm_core.training.finetuning import ranking

    seed = read_params(params_file, overrides).seed
    rows = ranking.read_prompts(prompts)
    choose = ranking.judge(judge) if judge else ranking.person(input, say, seed)
    how = Decoding(max_new_tokens, temperature, seed=seed)
    counts = ranking.rank(model, rows, out_file, choose, str(judge) if judge else "person", how, limit)
    together = counts["pairs"] + counts["before"]
    say(
        f"{out_file}: {together} pairs, {counts['pairs']} of them new; {counts['skipped']} prompts skipped, "
        f"{counts['one_answer']} gave one answer only"
    )
    if not together and judge:
        raise UserError("rank: no pair was made; raise --temperature, or give other --prompts")
