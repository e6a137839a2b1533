"""`llm-core export-gguf`: a model for llama.cpp."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import option, verb_app

app = verb_app()


@app.command()
def export_gguf(
    model: Annotated[Path, option("--model", "It must be a causal language model.")],
    out_file: Annotated[Path, option("--out-file", "It ends in .gguf by convention.")],
    dtype: Annotated[
        str, typer.Option("--dtype", help="Type of the matrices: float32, float16, bfloat16, or q8_0 (8 bits).")
    ] = "float16",
) -> None:
    """Write a language model as one GGUF file for llama.cpp; refused where llama.cpp would answer otherwise."""
    from llm_core.serving.gguf_export import export_gguf as run

    run(model, out_file, dtype)
