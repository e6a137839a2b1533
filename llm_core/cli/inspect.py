"""`llm-core inspect`: what a model folder holds, how it reads a text, and pictures of its attention."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say

app = verb_app()


@app.command()
def inspect(
    model: Annotated[Path, option("--model", "Any model, with or without a head.")],
    text: Annotated[str | None, option("--text", "Its tokens are printed, or shown with --attention.")] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Write a page with pictures of the attention to --out-file.")
    ] = False,
    out_file: Annotated[Path | None, option("--out-file", "An HTML page, with --attention.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Text that an encoder-decoder writes; without it, its own answer.")
    ] = None,
    layer: Annotated[int | None, typer.Option("--layer", min=1, help="One layer, counted from 1.")] = None,
    head: Annotated[int | None, typer.Option("--head", min=1, help="One head, counted from 1.")] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=2, max=256, help="Maximum number of tokens of a text that are shown.")
    ] = 64,
) -> None:
    """Print a model's kind and size and the tokens of a text, or write a page with pictures of its attention."""
    if attention:
        if text is None or not text.strip() or out_file is None:
            raise UserError("inspect: --attention needs a --text and an --out-file")
        if out_file.suffix != ".html":
            raise UserError(f"--out-file {out_file}: the pictures need a page; name it with .html")
        from llm_core.formats.pages import write_page
        from llm_core.models.attention_maps import attention_maps
        from llm_core.report.attention import attention_page

        page = attention_page(model, text, attention_maps(model, text, target, max_tokens), layer, head)
        write_page(out_file, page)
        say(f"inspect: {out_file}", error=True)
        return
    if given := [name for name, value in (("--out-file", out_file), ("--target", target), ("--layer", layer),
                                          ("--head", head)) if value is not None]:  # fmt: skip
        raise UserError(f"inspect: {', '.join(given)} belongs to --attention")
    from llm_core.models.family import kind_of
    from llm_core.models.loading import context_of, load_tokenizer, read_config
    from llm_core.models.prompts import encode_text

    config = read_config(model)
    inner = config.get_text_config(decoder=True)
    names = {"layers": "num_hidden_layers", "heads": "num_attention_heads", "width": "hidden_size"}
    facts = {
        "kind": kind_of(config),
        "architecture": (getattr(config, "architectures", None) or [config.model_type])[0],
        **{fact: getattr(inner, name, None) for fact, name in names.items()},
        "vocabulary": inner.vocab_size,
        "context": context_of(config),
        "finetuned for": getattr(config, "finetuned_for", None),
    }
    for fact, value in facts.items():
        if value is not None:
            say(f"{fact}: {printable(value, lines=False)}")
    if text is not None:
        tokenizer = load_tokenizer(model)
        ids = encode_text(tokenizer, text, special=True)
        say(f"tokens: {len(ids)}")
        for one in ids[:max_tokens]:
            say(f"  {one}\t{printable(repr(tokenizer.decode([one])), lines=False)}")
        if len(ids) > max_tokens:
            say(f"  and {len(ids) - max_tokens} more (--max-tokens)")
