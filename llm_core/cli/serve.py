"""`llm-core serve`: an OpenAI-compatible endpoint on loopback."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app

app = verb_app()


@app.command()
def serve(
    model: Annotated[Path, option("--model")],
    port: Annotated[int, typer.Option("--port", help="Port on 127.0.0.1.")] = 8000,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda:0, or auto.")] = "auto",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Serve a model until Ctrl-C: chat, completions, embeddings, labels, entities, answers. Limits: `serving`."""
    from llm_core.serving.server import serve as run

    raise typer.Exit(run(model, port, device, read_params(params_file, overrides).serving))
